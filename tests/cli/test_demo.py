"""``memplus demo`` as a user runs it, on a tiny model."""

from pathlib import Path

from tests.cli.conftest import Run

TEXT = "The gate is red. It rained. Nobody came. " * 40


def test_both_figures_stand_on_the_screen_and_in_the_data(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    given = ("demo", "--text", text, "--model", tiny, "--notes", 3, "--picture", tmp_path / "a.png")
    shown = run(*given).out
    assert "M+ " in shown
    for label in ("training's generator", "from many countries", "side by side"):
        assert label in shown
    data = run(*given, "--json").data
    assert {cell["kind"] for cell in data["outside"]} == {"alone", "outside name", "one attribute"}
    assert {cell["system"] for cell in data["outside"]} == {"mplus"}
    assert {cell["system"] for cell in data["cells"]} == {"mplus", "memoryllm", "nothing"}


def test_a_picture_without_a_folder_is_refused_before_anything_is_read(
    run: Run, tmp_path: Path, tiny: Path
) -> None:
    ran = run("demo", "--model", tiny, "--picture", tmp_path / "absent" / "a.png")
    assert ran.code == 2
    assert "absent" in ran.err
