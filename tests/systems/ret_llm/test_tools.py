from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.ret_llm.tiny_weights import tiny_weights

from memplus.errors import ConfigError, SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER
from memplus.systems.ret_llm.tools import UNTUNED, RetLLMOptions, Tools, missing_file
from memplus.systems.shared import Shared


def test_weights_that_are_not_there_are_named_before_the_model_is_loaded(tmp_path: Path) -> None:
    def loaded() -> None:
        raise AssertionError("the model was loaded")

    with pytest.raises(SystemWeightsError, match=r"train\.yaml") as caught:
        Tools(Shared(loaded), RetLLMOptions(weights=str(tmp_path)))  # type: ignore[arg-type]
    assert str(tmp_path) in caught.value.fields["reason"]
    shutil.copytree(tiny_weights(), tmp_path / "half")
    (tmp_path / "half" / ADAPTER).unlink()
    assert missing_file(tmp_path / "half") == str(tmp_path / "half" / ADAPTER)
    assert missing_file(tiny_weights()) == ""


def test_weights_of_another_model_are_refused_as_such() -> None:
    other = Shared(lambda: make_mplus("llama-wide-heads", config=SMALL))
    tools = Tools(other, RetLLMOptions(weights=str(tiny_weights())))
    with pytest.raises(SystemWeightsError, match="do not fit the model"):
        _ = tools.controller


def test_without_weights_there_is_no_adapter() -> None:
    tools = Tools(SHARED, RetLLMOptions(weights=UNTUNED))
    assert tools.folder is None
    assert tools.lora is None
    assert tools.controller.lora is None


def test_which_relations_have_one_value_is_said_by_options() -> None:
    def tools(**options: object) -> Tools:
        return Tools(SHARED, RetLLMOptions(weights=UNTUNED, **options))  # type: ignore[arg-type]

    assert not tools().has_one_value("code")
    assert tools(update="replace").has_one_value("code")
    named = tools(update="replace", one_value=("code",))
    assert named.has_one_value("code")
    assert not named.has_one_value("colour")


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong in ({"similarity": 0}, {"similarity": 1.1}, {"rows": 0}, {"one_value": ("a",)}):
        with pytest.raises(ConfigError):
            RetLLMOptions(**wrong)  # type: ignore[arg-type]
