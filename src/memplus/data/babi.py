"""bAbI (arXiv 1502.05698): made-up stories of facts, with questions about what was said so far.

The archive holds a file per task and part, of lines ``number sentence`` or ``number question TAB
answer TAB facts``; the numbers begin again with every story.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memplus.data.documents import read_bytes, read_document
from memplus.errors import BenchmarkFileError

__all__ = ["BabiQuestion", "read_babi", "read_indices"]

_LINE = re.compile(r"(\d+) (.*)")


@dataclass(frozen=True, slots=True)
class BabiQuestion:
    """A question and all that was told before it."""

    facts: tuple[str, ...]
    """A sentence each, in the order of the story, questions left out."""
    question: str
    answer: str
    """A word, or several between commas."""
    supporting: tuple[int, ...]
    """The facts that it follows from."""


def read_babi(path: Path, task: int, part: Literal["train", "test"] = "test") -> list[BabiQuestion]:
    """The questions of a task, in the order of its file.

    Args:
        path: the zip archive.
        task: 1 to 20.
        part: which file of the task.

    Raises:
        NotFoundError, StorageError: the archive is missing, or cannot be read.
        BenchmarkFileError: it is something else, or holds no such file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(path))) as archive:
            names = [one for one in archive.namelist() if _is_of(one, task, part)]
            if len(names) != 1:
                raise _wrong(path, f"it holds {len(names)} files of task {task}, {part}")
            text = archive.read(names[0]).decode("utf-8")
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise _wrong(path, str(error)) from error
    try:
        return list(_questions(text))
    except ValueError as error:
        raise _wrong(path, f"{names[0]}, {error}") from error


def read_indices(path: Path) -> dict[int, list[int]]:
    """Task -> the questions of its test file that BABILong asks, counted from 0.

    Args:
        path: JSON, ``{"qa1": [1, 4, ...]}``.

    Raises:
        NotFoundError, StorageError: the file is missing, or cannot be read.
        BenchmarkFileError: it is something else.
    """
    try:
        found = json.loads(read_document(path).text)
        return {
            int(name.removeprefix("qa")): [int(one) for one in indices]
            for name, indices in found.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise _wrong(path, f"it is no table of indices by task ({error})") from error


def _is_of(name: str, task: int, part: str) -> bool:
    return re.fullmatch(rf"qa{task}_.*_{part}\.txt", name.rpartition("/")[2]) is not None


def _questions(text: str) -> Iterator[BabiQuestion]:
    """The questions of a file.

    Raises:
        ValueError: a line is something else; says which.
    """
    facts: dict[int, str] = {}
    for place, line in enumerate(text.splitlines(), start=1):
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"line {place} has no number")
        number, said = int(found[1]), found[2].split("\t")
        if number == 1:
            facts = {}
        if len(said) == 1:
            facts[number] = said[0].strip()
        elif len(said) == 3:
            yield _question(facts, said, place)
        else:
            raise ValueError(f"line {place} has {len(said)} parts")


def _question(facts: dict[int, str], said: list[str], place: int) -> BabiQuestion:
    order = list(facts)
    try:
        supporting = tuple(order.index(int(one)) for one in said[2].split())
    except ValueError as error:
        raise ValueError(f"line {place} follows from a fact that was not told") from error
    return BabiQuestion(tuple(facts.values()), said[0].strip(), said[1].strip(), supporting)


def _wrong(path: Path, reason: str) -> BenchmarkFileError:
    return BenchmarkFileError(path, benchmark="bAbI", reason=reason)
