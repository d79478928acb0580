"""The commands that make a system's weights, as its refusal says them: all, and in order."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.systems.conftest import SHARED

from memplus.errors import SystemWeightsError
from memplus.systems.registry import make_systems

ROOT = Path(__file__).parents[2]
SYSTEMS = {
    "hmt": 4, "lamemo": 3, "longmem": 2, "memllm": 3, "memlong": 2, "ret_llm": 1,
    "scm:controller=tuned": 2,
}  # fmt: skip
"""Name -> how many steps lead to its weights."""


def commands(name: str, folder: Path) -> list[list[str]]:
    """The commands that are named where the weights are not there."""
    with pytest.raises(SystemWeightsError) as refused:
        make_systems([f"{name}:weights={folder}"], SHARED)
    return [shlex.split(one) for one in re.findall("`([^`]+)`", refused.value.message)]


def texts(value: Any) -> Iterator[str]:
    """Every text of a config."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def needs_and_makes(command: list[str]) -> tuple[list[str], str]:
    """What a command reads of earlier runs, and what it leaves."""
    if command[:2] == ["memplus", "train"]:
        config = yaml.safe_load((ROOT / command[command.index("--config") + 1]).read_text())
        out = config["run"].pop("out")
        return [one for one in texts(config) if one.startswith("runs/")], str(out)
    assert command[0] == "python"
    assert (ROOT / command[1]).is_file()
    out = command.pop(command.index("--out") + 1)
    return [one for one in command if one.startswith("runs/")], out


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_command_has_what_it_needs_from_those_before_it(name: str, tmp_path: Path) -> None:
    named = commands(name, tmp_path)
    assert len(named) == SYSTEMS[name]
    made: list[Path] = []
    for command in named:
        needed, left = needs_and_makes(command)
        for one in map(Path, needed):
            # A folder of several runs is named for what one of them left in it.
            assert any(one == had or had in one.parents or one in had.parents for had in made), one
        made.append(Path(left))
