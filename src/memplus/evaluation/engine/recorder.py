"""Where the lines of a run go, and how far those that are there already have been passed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Protocol

from memplus.errors import DamagedRunError

__all__ = ["END", "FAILED", "HEAD", "Cursor", "InMemory", "Recorder"]

END = "end"
"""The key of the line behind a stream."""
_End = tuple[str, str]
"""A plan and the system that read it."""
HEAD = ("plan", "seed", "key", "system")
"""What tells a line from all others; the ends of streams have no seed."""
FAILED = "error"
"""Says in a line what failed."""
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

    def replace(self, index: int, line: Mapping[str, Any]) -> None:
        """Keep a line in the place of one that failed; ``index`` is that of ``lines``."""
        ...

    def number(self, index: int) -> int:
        """What to call one of ``lines`` where it is damaged."""
        ...


class InMemory:
    """Keeps lines for a run that nobody will go on with."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep one line."""
        self.lines.append(dict(line))

    def replace(self, index: int, line: Mapping[str, Any]) -> None:
        """Keep a line in the place of another."""
        self.lines[index] = dict(line)

    def number(self, index: int) -> int:
        """As if a head stood before the lines."""
        return index + 2


class Cursor:
    """How far the answers of a recorder have been passed, known ones or new ones.

    Answers follow each other in one order. The ends of streams lie anywhere among them: a system
    that follows another's stream has none, until it is run without that other. What failed when
    the recorder was filled is not known: it is tried again, and what comes of it takes its place.

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
        found = self.known[self.at : self.at + lines]
        return len(found) == lines and not any(FAILED in line for _, line in found)

    def passes(self, head: Mapping[str, Any]) -> bool:
        """Go one answer on; whether it was known.

        Raises:
            DamagedRunError: another one is, or it lacks what figures are made of.
        """
        place = self._next(head)
        return place is not None and FAILED not in self.recorder.lines[place]

    def takes(self, head: Mapping[str, Any], line: Mapping[str, Any]) -> None:
        """Go one answer on, and keep this one unless it was known.

        Args:
            head: what tells it from all others.
            line: the rest of it.

        Raises:
            DamagedRunError: see ``passes``.
        """
        place = self._next(head)
        if place is None:
            self.recorder.append({**head, **line})
        elif FAILED in self.recorder.lines[place]:
            self.recorder.replace(place, {**head, **line})

    def _next(self, head: Mapping[str, Any]) -> int | None:
        """Go one answer on: where it lies among the recorder's lines; None where it is new."""
        self.at += 1
        if self.at > len(self.known):
            return None
        index, line = self.known[self.at - 1]
        others = any(line.get(name) != value for name, value in head.items())
        if others or _lacks(line, self.needed):
            raise self._damaged(index)
        return index

    def ended(self, plan: str, system: str) -> bool:
        """Whether the end of a stream is known."""
        place = self.ends.get((plan, system))
        return place is not None and FAILED not in self.recorder.lines[place]

    def ends_with(self, plan: str, system: str, line: Mapping[str, Any]) -> None:
        """Keep the end of a stream, unless it was known."""
        whole = {"plan": plan, "key": END, "system": system, **line}
        place = self.ends.get((plan, system))
        if place is None:
            self.recorder.append(whole)
        elif FAILED in self.recorder.lines[place]:
            self.recorder.replace(place, whole)

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
        path = getattr(self.recorder, "path", "The run")
        return DamagedRunError(path, line=self.recorder.number(index))


def _lacks(line: Mapping[str, Any], needed: Set[str]) -> bool:
    """Whether a line has not what figures are made of, nor the failure in its place."""
    return not (needed <= line.keys() or FAILED in line)
