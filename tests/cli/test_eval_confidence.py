import gzip
from pathlib import Path

import pytest
from tests.cli.conftest import Run

TEXT = "The gate is red. It rained. Nobody came. " * 40


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    return path


@pytest.mark.long
def test_confidence_leaves_its_picture_in_its_folder(
    run: Run, tmp_path: Path, tiny: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("eval", "confidence", text, "--model", tiny, "--notes", 2, "--distances", "0")
    ran = run(*given, "--out", "out", "--json")
    assert ran.data["asked"] == 4
    assert (tmp_path / "out" / "confidence.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"out", text.name}
    assert "min confidence" in run(*given, "--out", "out").out
    (tmp_path / "file").write_text("")
    assert run(*given, "--out", "file").code != 0


@pytest.mark.long
def test_a_threshold_is_chosen_on_what_no_figure_holds(
    run: Run, tmp_path: Path, tiny: Path, text: Path
) -> None:
    given = ("eval", "confidence", text, "--held-out", "--model", tiny, "--notes", 2)
    given += ("--distances", "0", "--out", tmp_path / "out")
    ran = run(*given, "--json")
    assert ran.code == 0, ran.err
    # Two statements and one that is never told, of two questions each.
    assert ran.data["asked"] == 6
    assert ran.data["chosen"] in ran.data["thresholds"]
    assert ran.data["chosen"]["wrongly_declined"] <= 0.1
    answers = tmp_path / "out" / "answers.jsonl"
    before = answers.read_bytes()
    assert b'"part": "threshold"' in before.splitlines()[0]
    shown = run(*given, "--most-declined", 1)
    assert "of what was never told and" in shown.out
    assert answers.read_bytes() == before
    assert "another run: first_seed" in run(*given, "--seed", 1).err
