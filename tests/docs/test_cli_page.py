from pathlib import Path

from memplus.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_what_the_help_says_now() -> None:
    assert PAGE.read_text() == reference(), "run `make docs`"
