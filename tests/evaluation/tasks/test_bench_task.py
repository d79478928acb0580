"""Where a task's data is looked for, and what it is given to read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from memplus.errors import MissingDataError
from memplus.evaluation.tasks.bench_task import Inputs, Need

NEED = Need("set/questions.json", "CC0", "some questions")


def letters(texts: list[str]) -> list[list[int]]:
    return [list(range(1, len(text) + 1)) for text in texts]


def inputs(folder: Path, *prose: str) -> Inputs:
    return Inputs(folder, letters, 4, lambda: prose)


def test_a_missing_file_is_named_with_its_licence(tmp_path: Path) -> None:
    assert not inputs(tmp_path).has(NEED)
    with pytest.raises(MissingDataError, match=r"some questions \(licence: CC0\)") as caught:
        inputs(tmp_path).path(NEED)
    assert str(tmp_path / NEED.path) in str(caught.value)


def test_what_was_read_is_known_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / NEED.path).write_text("{}")
    given = inputs(tmp_path)
    assert given.path(NEED) == tmp_path / NEED.path
    assert given.digests == {NEED.path: hashlib.sha256(b"{}").hexdigest()}
    given.path(Need("set", "CC0", "a folder"))
    assert given.digests["set"] == hashlib.sha256(b"{}").hexdigest()


def test_a_folder_is_known_by_all_that_lies_below_it(tmp_path: Path) -> None:
    need = Need("set", "CC0", "a folder")
    (tmp_path / "set" / "books").mkdir(parents=True)
    (tmp_path / "set" / "books" / "a.txt").write_text("One.")
    first, second = inputs(tmp_path), inputs(tmp_path)
    first.path(need)
    (tmp_path / "set" / "books" / "a.txt").write_text("Two.")
    second.path(need)
    assert first.digests["set"] != second.digests["set"]


def test_what_is_hidden_in_a_folder_is_none_of_its_files(tmp_path: Path) -> None:
    need = Need("set", "CC0", "a folder")
    (tmp_path / "set" / "books").mkdir(parents=True)
    (tmp_path / "set" / "books" / "a.txt").write_text("One.")
    plain = inputs(tmp_path)
    plain.path(need)
    (tmp_path / "set" / ".DS_Store").write_text("Two.")
    (tmp_path / "set" / ".git").mkdir()
    (tmp_path / "set" / ".git" / "config").write_text("Three.")
    other = inputs(tmp_path)
    other.path(need)
    assert other.digests == plain.digests == {"set": hashlib.sha256(b"One.").hexdigest()}


def test_prose_is_taken_text_by_text_until_there_is_enough(tmp_path: Path) -> None:
    given = inputs(tmp_path, "One. Two.", "Three.", "Four.")
    assert len(given.texts(9).sentences) == 1
    assert len(given.texts(10).sentences) == 2
    assert len(given.texts(10_000).sentences) == 3
    assert "prose" in given.digests
