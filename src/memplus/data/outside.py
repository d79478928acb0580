"""Facts that no generator of ours made: people's names, and statements with their questions.

The bundled lists are written by hand. What a model keeps of its own generator's notes says little
about the rest of the world; these say a little more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memplus.data.documents import read_document
from memplus.data.json_lines import read_records, texts

__all__ = [
    "BOOK_NAMES",
    "BUNDLED_NAMES",
    "BUNDLED_STATEMENTS",
    "Statement",
    "read_names",
    "read_statements",
]

_FACTS = Path(__file__).parents[1] / "assets" / "facts"
BUNDLED_NAMES = _FACTS / "names.txt"
"""200 full names from many countries, none of them put together from the parts of ``notes``."""
BOOK_NAMES = _FACTS / "book_names.txt"
"""100 names of people in the nine books of Book-SORT, which training texts do not hold."""
BUNDLED_STATEMENTS = _FACTS / "statements.jsonl"
"""40 ordinary statements, each with the question that it obviously answers."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that somebody says, and a question about it."""

    statement: str
    question: str
    answers: tuple[str, ...]
    """Any of them, somewhere in an answer, is right."""


def read_names(path: Path) -> list[str]:
    """Names, one a line, each once.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
    """
    lines = (" ".join(line.split()) for line in read_document(path).text.splitlines())
    return list(dict.fromkeys(line for line in lines if line))


def read_statements(path: Path) -> list[Statement]:
    """Statements of a file of JSON lines with ``statement``, ``question`` and ``answers``.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        UsageError: a line is something else.
    """
    return read_records(path, _statement, holds="statement, question and answers")


def _statement(line: Any) -> Statement:
    statement, question = texts([line["statement"], line["question"]])
    return Statement(statement, question, texts(line["answers"]))
