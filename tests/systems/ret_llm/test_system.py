from __future__ import annotations

from pathlib import Path

from tests.systems.conftest import SHARED

from memplus.systems.registry import make_systems
from memplus.systems.ret_llm.system import RetLLMSystem
from memplus.systems.ret_llm.tools import RetLLMOptions


def test_the_options_of_the_command_line(tmp_path: Path) -> None:
    spec = "ret_llm:weights=none:memory=off:update=replace:one_value=locker code,employed by"
    (made,) = make_systems([spec], SHARED)
    assert isinstance(made, RetLLMSystem)
    assert made.options.one_value == ("locker code", "employed by")
    assert not made.remembers
    assert RetLLMSystem(SHARED, RetLLMOptions(weights="none")).remembers
