"""Where the lines of a run go, and how far those that are there already have been passed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Protocol

from memplus.errors import DamagedRunError

__all__ = ["END", "Cursor", "InMemory", "Recorder"]

END = "end"
"""The key of the line behind a stream."""
_End = tuple[str, str]
"""A plan and the system that read it."""
_OF_AN_END = {"tokens", "write_seconds", "bytes"}
_OF_AN_ANSWER = {
    *("kind", "wanted", "distance", "question", "answers", "said", "right", "credit"),
    *("declined", "outdated", "seconds", "bytes"),
}


class Recorder(Protocol):
    """Where answers go: a ``RunFile``, or ``InMemory``."""

    lines: list[dict[str, Any]]

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep one line."""
        ...


class InMemory:
    """Keeps lines for a run that nobody will go on with."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep one line."""
        self.lines.append(dict(line))


class Cursor:
    """How far the answers of a recorder have been passed, known ones or new ones.

    Answers follow each other in one order. The ends of streams lie anywhere among them: a system
    that follows another's stream has none, until it is run without that other.

    Args:
        recorder: holds what is known, and takes what is new.
        scored: whether nothing can be said of an answer without its likelihoods.
    """

    def __init__(self, recorder: Recorder, *, scored: bool) -> None:
        """Find what is known.

        Raises:
            DamagedRunError: the end of a stream stands twice, or lacks its figures.
        """
        self.recorder = recorder
        self.needed = _OF_AN_ANSWER | ({"scores"} if scored else set())
        self.known: list[tuple[int, Mapping[str, Any]]] = []
        self.ends: dict[_End, int] = {}
        self.at = 0
        for index, line in enumerate(recorder.lines):
            if line.get("key") != END:
                self.known.append((index, line))
                continue
            end = (str(line.get("plan")), str(line.get("system")))
            if end in self.ends or _lacks(line, _OF_AN_END):
                raise self._damaged(index)
            self.ends[end] = index

    def holds(self, lines: int) -> bool:
        """Whether so many more answers are known."""
        return self.at + lines <= len(self.known)

    def passes(self, head: Mapping[str, Any]) -> bool:
        """Go one answer on; whether it was known.

        Raises:
            DamagedRunError: another one is, or it lacks what figures are made of.
        """
        self.at += 1
        if self.at > len(self.known):
            return False
        index, line = self.known[self.at - 1]
        others = any(line.get(name) != value for name, value in head.items())
        if others or _lacks(line, self.needed):
            raise self._damaged(index)
        return True

    def require_no_more(self, ends: Set[_End]) -> None:
        """Refuse what is known beyond the answers that were passed, and these ends.

        Raises:
            DamagedRunError: there is more.
        """
        more = [index for index, _ in self.known[self.at :]]
        more += [index for end, index in self.ends.items() if end not in ends]
        if more:
            raise self._damaged(min(more))

    def _damaged(self, index: int) -> DamagedRunError:
        return DamagedRunError(getattr(self.recorder, "path", "The run"), line=index + 2)


def _lacks(line: Mapping[str, Any], needed: Set[str]) -> bool:
    """Whether a line has not what figures are made of, nor the failure in its place."""
    return not (needed <= line.keys() or "error" in line)
