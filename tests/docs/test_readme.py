"""The README's own code runs, on the models that it names, as it stands there.

Where its screen is one of a base model that is neither in the cache nor to be had, it is skipped.
"""

import os
import re
import shlex
from pathlib import Path

import pytest

from memplus.backbone.processor import bfloat16_unit
from memplus.cli.main import main
from memplus.errors import BaseUnavailableError, StorageError
from memplus.mplus.base_cache import pull
from memplus.mplus.bundled import known_base_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = README.split("```")[1::2]
PYTHON = [block.removeprefix("python\n") for block in BLOCKS if block.startswith("python\n")]


def fetched_or_skipped(model: str) -> None:
    """Make sure that the base of a model lies in the cache."""
    base = known_base_of(model)
    try:
        if base is not None:
            pull(base)
    except (BaseUnavailableError, StorageError) as error:
        pytest.skip(f"{model} is not to be had here: {error.message}")


def test_the_python_example_prints_what_its_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(PYTHON[0], {})
    said = re.findall(r"^print\(.*\)  # (.*)$", PYTHON[0], flags=re.MULTILINE)
    assert len(said) == 3
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.long
@pytest.mark.parametrize("shown", [block for block in BLOCKS if "$ memplus" in block])
def test_a_screen_it_shows_is_what_the_commands_print(
    shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = "MEMPLUS_CACHE"
    for name in [name for name in os.environ if name.startswith("MEMPLUS_") and name != kept]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    for name, value in re.findall(r"^\$ export (\w+)=(\S+)$", shown, flags=re.MULTILINE):
        monkeypatch.setenv(name, value)
    model = os.environ.get("MEMPLUS_MODEL", "nano")
    # Elsewhere a real model is loaded in float32, whose memory takes more; bfloat16 would be slow.
    as_shown = model == "nano" or bfloat16_unit() is not None
    fetched_or_skipped(model)
    turns = re.findall(r"^\$ memplus (.*)\n((?:(?!\$ ).*\n)*)", shown, flags=re.MULTILINE)
    assert len(turns) == 3
    for words, printed in turns:
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(words))
        assert ended.value.code == 0
        said = capsys.readouterr().out
        if not as_shown:
            said, printed = (re.sub(r"[\d.]+ MB", "MB", one) for one in (said, printed))
        assert said.split() == printed.split()


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
