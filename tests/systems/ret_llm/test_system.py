from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.systems.conftest import SHARED
from tests.systems.ret_llm.tiny_weights import tiny_weights

from memplus.errors import SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER
from memplus.systems.registry import make_systems
from memplus.systems.ret_llm import tools
from memplus.systems.ret_llm.system import RetLLMSystem
from memplus.systems.ret_llm.tools import RetLLMOptions


def test_its_answers_depend_on_its_weights(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_weights(), other)
    one = RetLLMSystem(SHARED, RetLLMOptions(weights=str(tiny_weights())))
    assert one.identity["weights"] == RetLLMSystem(SHARED, one.options).identity["weights"]
    with (other / ADAPTER).open("ab") as file:
        file.write(b" ")
    changed = RetLLMSystem(SHARED, RetLLMOptions(weights=str(other)))
    assert changed.identity["weights"] != one.identity["weights"]
    assert "weights" not in RetLLMSystem(SHARED, RetLLMOptions(weights="none")).identity


def test_the_options_of_the_command_line(tmp_path: Path) -> None:
    spec = "ret_llm:weights=none:memory=off:update=replace:one_value=locker code,employed by"
    (made,) = make_systems([spec], SHARED)
    assert isinstance(made, RetLLMSystem)
    assert made.options.one_value == ("locker code", "employed by")
    assert not made.remembers
    assert RetLLMSystem(SHARED, RetLLMOptions(weights="none")).remembers


def test_what_is_missing_is_said_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "SHIPPED", tmp_path)
    monkeypatch.setattr("memplus.systems.ret_llm.system.SHIPPED", tmp_path)
    assert "memplus train" in RetLLMSystem.missing()
    with pytest.raises(SystemWeightsError):
        make_systems(["ret_llm"], SHARED)
    shutil.copytree(tiny_weights(), tmp_path, dirs_exist_ok=True)
    assert RetLLMSystem.missing() == ""
    assert make_systems(["ret_llm"], SHARED)[0].title == "RET-LLM"
