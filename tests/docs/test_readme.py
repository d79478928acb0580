"""The README's own code runs, on the bundled model, as it stands there."""

import os
import re
import shlex
from pathlib import Path

import pytest

from memplus.cli.main import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = README.split("```")[1::2]
PYTHON = [block.removeprefix("python\n") for block in BLOCKS if block.startswith("python\n")]


def test_the_python_example_prints_what_its_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(PYTHON[0], {})
    said = re.findall(r"^print\(.*\)  # (.*)$", PYTHON[0], flags=re.MULTILINE)
    assert len(said) == 3
    assert capsys.readouterr().out.splitlines() == said


def test_the_screen_it_shows_is_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("MEMPLUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (shown,) = [block for block in BLOCKS if "$ memplus" in block]
    turns = re.findall(r"^\$ memplus (.*)\n((?:(?!\$ ).*\n)*)", shown, flags=re.MULTILINE)
    assert len(turns) == 4
    for words, printed in turns:
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(words))
        assert ended.value.code == 0
        assert capsys.readouterr().out.split() == printed.split()


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
