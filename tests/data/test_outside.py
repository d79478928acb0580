import json
import tomllib
from pathlib import Path

import pytest

from memplus.data import note_parts
from memplus.data.outside import (
    BOOK_NAMES,
    BUNDLED_NAMES,
    BUNDLED_STATEMENTS,
    Statement,
    read_names,
    read_statements,
)
from memplus.errors import NotFoundError, UsageError

NAMES = read_names(BUNDLED_NAMES)
MADE = {head + tail for head in note_parts.NAME_HEADS for tail in note_parts.NAME_TAILS}


def test_the_bundled_names_are_200_of_which_the_generator_made_none() -> None:
    assert len(NAMES) == 200
    known = {*note_parts.FIRST_NAMES, *note_parts.PLACES, *MADE}
    for name in NAMES:
        first, last = name.split()
        assert known.isdisjoint((first, last)), name
        # Nor does one look as if it had.
        begins = any(last.startswith(head) for head in note_parts.NAME_HEADS)
        assert not (begins and any(last.endswith(tail) for tail in note_parts.NAME_TAILS)), name


def test_no_part_of_a_bundled_name_comes_twice() -> None:
    parts = [part for name in NAMES for part in name.split()]
    assert len(set(parts)) == len(parts)


def test_the_bundled_statements_hold_their_answers_and_none_is_a_note() -> None:
    told = read_statements(BUNDLED_STATEMENTS)
    assert len(told) == len({one.statement for one in told}) == 40
    attributes = {name for name, _ in note_parts.PERSON_ATTRIBUTES + note_parts.PLACE_ATTRIBUTES}
    for one in told:
        assert any(answer.casefold() in one.statement.casefold() for answer in one.answers)
        assert not any(f"'s {attribute} is" in one.statement for attribute in attributes)


def test_names_are_read_a_line_each_and_once(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("  Ann   Lee\n\nBob Ray\nAnn Lee\n")
    assert read_names(path) == ["Ann Lee", "Bob Ray"]
    with pytest.raises(NotFoundError):
        read_names(tmp_path / "absent.txt")


def test_statements_are_read_and_anything_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "told.jsonl"
    good = {"statement": "It is red.", "question": "What is it?", "answers": ["red"]}
    path.write_text(json.dumps(good) + "\n\n")
    assert read_statements(path) == [Statement("It is red.", "What is it?", ("red",))]
    wrong = [good | {"answers": []}, good | {"answers": 3}, good | {"question": None}]
    for bad in ("red", "[]", "{}", "3", *map(json.dumps, wrong)):
        path.write_text(json.dumps(good) + "\n" + bad)
        with pytest.raises(UsageError, match="Line 2 of"):
            read_statements(path)


def test_all_that_is_bundled_is_part_of_the_package() -> None:
    root = Path(__file__).parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    globs = settings["tool"]["setuptools"]["package-data"]["memplus"]
    package = root / "src" / "memplus"
    bundled = {path for path in (package / "assets").rglob("*") if path.is_file()}
    packed = {path for glob in globs for path in package.glob(glob)}
    assert BUNDLED_NAMES in bundled
    assert bundled <= packed


def test_names_of_book_sort_are_others_than_the_bundled_ones() -> None:
    names = read_names(BOOK_NAMES)
    assert len(names) == 100
    assert not set(names) & set(NAMES)
    assert BOOK_NAMES.parent == BUNDLED_NAMES.parent
