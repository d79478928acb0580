"""``memplus demo`` as a user runs it, on a tiny model."""

from pathlib import Path

import pytest
from tests.cli.conftest import Run

TEXT = "The gate is red. It rained. Nobody came. " * 15


@pytest.mark.long
def test_both_figures_stand_on_the_screen_and_in_the_data(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 3)
    told = ("--tell", "notes", "--notes", 3)
    given = ("demo", "--text", text, "--model", tiny, *told, "--picture", tmp_path / "a.png")
    shown = run(*given).out
    assert "M+ " in shown
    for label in ("training's generator", "from many countries", "side by side"):
        assert label in shown
    data = run(*given, "--json").data
    assert {cell["kind"] for cell in data["outside"]} == {"alone", "outside name", "one attribute"}
    assert {cell["system"] for cell in data["outside"]} == {"mplus"}
    assert {cell["system"] for cell in data["cells"]} == {"mplus", "memoryllm", "nothing"}


@pytest.mark.long
def test_a_model_that_is_not_the_nano_is_told_ordinary_statements(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    text, picture = tmp_path / "text.txt", tmp_path / "curve.png"
    text.write_text(TEXT * 4)
    given = ("demo", "--text", text, "--model", tiny, "--notes", 4, "--picture", picture)
    ran = run(*given)
    assert "statement itself" in ran.out
    assert "names" not in ran.out
    assert picture.stat().st_size > 1000
    silent = run(*given, "--json")
    data = silent.data
    assert (data["kind"], data["told"], data["outside"]) == ("statement", 4, [])
    assert {cell["kind"] for cell in data["cells"]} == {"statement", "never told"}
    assert len(data["shown"]) == 3
    # Sizes are said before anything is read.
    asked = sum(cell["asked"] for cell in data["cells"] if cell["system"] == "mplus")
    size = f"is told 4 statements in {data['tokens']:,} tokens of {text} and asked {asked}"
    assert size in silent.err
    assert " MB." in silent.err


@pytest.mark.long
def test_several_texts_are_read_one_after_the_other(run: Run, tmp_path: Path, tiny: Path) -> None:
    paths = [tmp_path / name for name in ("one.txt", "two.txt")]
    for path in paths:
        path.write_text(TEXT * 2)
    texts = [flag for path in paths for flag in ("--text", path)]
    picture = tmp_path / "a.png"
    ran = run("demo", *texts, "--model", tiny, "--notes", 3, "--picture", picture, "--json")
    assert ran.data["source"] == f"{paths[0]}, {paths[1]}"
    assert ran.data["tokens"] > len(TEXT * 2)  # a token is a byte here


def test_a_picture_without_a_folder_is_refused_before_anything_is_read(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    ran = run("demo", "--model", tiny, "--picture", tmp_path / "absent" / "a.png")
    assert ran.code == 2
    assert "absent" in ran.err


def test_a_picture_of_no_format_is_refused_before_anything_is_read(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    refused = run("demo", "--text", tmp_path / "absent", "--model", tiny,
                  "--picture", tmp_path / "a.xyz")  # fmt: skip
    assert refused.code == 2
    assert "its suffix names no format of pictures" in refused.err
