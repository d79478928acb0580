"""What every system of triples does alike, over both systems."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.systems.conftest import SHARED
from tests.systems.options import OPTIONS_FOR, spec_for

from memplus.errors import SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER
from memplus.systems.registry import make_systems, system_class
from memplus.systems.triples import tools

NAMES = ["ret_llm", "memllm"]


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_come_along_is_said_with_the_command_that_makes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "SHIPPED", tmp_path)
    kind = system_class(name)
    assert str(tmp_path / name) in kind.missing()
    with pytest.raises(SystemWeightsError) as refused:
        make_systems([name], SHARED)
    for command in kind.tools_type.makes:
        assert f"`{command}`" in kind.missing()
        assert f"`{command}`" in refused.value.message
    shutil.copytree(OPTIONS_FOR[name]()["weights"], tmp_path / name)
    assert kind.missing() == ""
    assert make_systems([name], SHARED)[0].title == kind.called


@pytest.mark.parametrize("name", NAMES)
def test_the_adapters_belong_to_what_a_system_is(name: str, tmp_path: Path) -> None:
    spec, folder = spec_for(name), OPTIONS_FOR[name]()["weights"]
    one, same = (make_systems([spec], SHARED)[0].identity["weights"] for _ in range(2))
    assert one == same
    shutil.copytree(folder, tmp_path / "other")
    for path in (tmp_path / "other").rglob(ADAPTER):
        path.write_bytes(path.read_bytes() + b" ")
    other = make_systems([spec.replace(folder, str(tmp_path / "other"))], SHARED)[0]
    assert other.identity["weights"] != one


@pytest.mark.parametrize("name", NAMES)
def test_with_the_memory_off_nothing_is_remembered(name: str) -> None:
    on, off = make_systems([spec_for(name), f"{spec_for(name)}:memory=off"], SHARED)
    assert (on.remembers, off.remembers) == (True, False)
