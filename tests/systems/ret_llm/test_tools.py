from __future__ import annotations

import pytest
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError
from memplus.systems.ret_llm.tools import UNTUNED, RetLLMOptions, Tools


def test_without_weights_there_is_no_adapter() -> None:
    tools = Tools(SHARED, RetLLMOptions(weights=UNTUNED))
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
