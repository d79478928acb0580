"""The README's own code runs, on the bundled model, as it stands there."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = README.split("```")[1::2]
PYTHON = [block.removeprefix("python\n") for block in BLOCKS if block.startswith("python\n")]


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(PYTHON[0], names)
    assert names["answer"].evidence[0].source in ("", "notes.txt")
    assert names["again"].writes == names["twin"].writes
    assert len(names["twin"].writes) > len(names["memory"].writes)
    assert "Question: What is memplus?" in capsys.readouterr().out


def test_the_commands_it_shows_exist() -> None:
    from typer.core import TyperGroup
    from typer.main import get_command

    from memplus.cli.main import app

    group = get_command(app)
    assert isinstance(group, TyperGroup)
    shown = set(re.findall(r"^memplus (\w+)", "".join(BLOCKS), flags=re.MULTILINE))
    assert shown
    assert shown <= set(group.commands)


@pytest.mark.parametrize("linked", re.findall(r"\]\(([^)#]+)\)", README))
def test_its_links_lead_somewhere(linked: str) -> None:
    assert (ROOT / linked).exists()
