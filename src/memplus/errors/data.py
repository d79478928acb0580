"""Texts and question sets that cannot be used."""

from __future__ import annotations

from pathlib import Path

from memplus.errors.base import UsageError

__all__ = ["EmptyTextError", "NotTextError", "QuestionSetError"]


class EmptyTextError(UsageError):
    """There is nothing to read in a text, a question or a file."""

    template = "{what} is empty."
    hint = "Give at least one visible character."

    def __init__(self, what: str = "The text") -> None:
        self._fill(what=what)


class NotTextError(UsageError):
    """A file is binary or is not UTF-8; ``offset`` is that of its first bad byte."""

    template = "{path} is not UTF-8 text: {reason} at byte {offset}."
    hint = "Convert it first, e.g. `iconv -f latin1 -t utf-8 IN > OUT`, or extract its text."

    def __init__(self, path: str | Path, *, offset: int, reason: str = "invalid data") -> None:
        self._fill(path=str(path), offset=offset, reason=reason)


class QuestionSetError(UsageError):
    """A file of questions has no form that memplus knows."""

    template = "{path} is no question set that memplus can read."
    hint = "Give SQuAD's JSON, or Natural Questions with gold passages as JSON lines (.jsonl)."

    def __init__(self, path: str | Path) -> None:
        self._fill(path=str(path))
