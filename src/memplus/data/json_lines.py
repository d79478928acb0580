"""Files of JSON, and of JSON lines with a record each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from memplus.data.documents import read_document
from memplus.errors import UsageError

__all__ = ["a_list", "a_text", "an_answer", "read_json", "read_records", "texts"]

Record = TypeVar("Record")
_Kind = TypeVar("_Kind")


def read_json(path: Path) -> Any:
    """What a file of JSON holds.

    Args:
        path: the file, also gzipped.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        ValueError: it is no JSON.
    """
    return json.loads(read_document(path).text)


def read_records(path: Path, parse: Callable[[Any], Record], *, holds: str) -> list[Record]:
    """What stands on each line of a file that is not blank.

    Args:
        path: the file.
        parse: makes a record of a line's JSON; raises ValueError, TypeError or KeyError where
            that is something else.
        holds: what a line should hold, as the error says it.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        UsageError: a line is no JSON, or ``parse`` refused it.
    """
    records = []
    for number, line in enumerate(read_document(path).text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"Line {number} of {path} is no JSON with {holds}.") from error
    return records


def a_list(found: Any) -> list[Any]:
    """A JSON list, and nothing else.

    Raises:
        TypeError: it is something else.
    """
    return _only(found, list, "list")


def a_text(found: Any) -> str:
    """A JSON string, and nothing else.

    Raises:
        TypeError: it is something else.
    """
    return _only(found, str, "text")


def _only(found: Any, kind: type[_Kind], called: str) -> _Kind:
    if not isinstance(found, kind):
        raise TypeError(f"{found!r:.60} is no {called}")
    return found


def an_answer(found: Any) -> str:
    """A JSON string, or a number as text.

    Raises:
        TypeError: it is something else.
    """
    number = isinstance(found, int | float) and not isinstance(found, bool)
    return str(found) if number else a_text(found)


def texts(found: Any) -> tuple[str, ...]:
    """Strings of a JSON list that holds at least one, and nothing else.

    Raises:
        ValueError: it is something else.
    """
    if not (isinstance(found, list) and found and all(isinstance(one, str) for one in found)):
        raise ValueError(f"no list of strings: {found!r}")
    return tuple(found)
