"""The read loop: a model stops to ask the memory, and goes on with what it found (section 3.2).

The context holds one read at most: an earlier call and its results are taken out before the next
one is made. A call that finds nothing, finds too much, is no call, or is the last successful one
again is taken away, and the model goes on without being allowed to call at once again. The loop
knows texts alone: whatever generates stands behind ``Reader``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from memplus.systems.memllm.grammar import ARROW, END, START, Query, parse_read

__all__ = ["MOST_RESULTS", "Read", "ReadLoop", "Reader"]

MOST_RESULTS = 30
"""Results Q_thr above which a call is of no use, as published."""

Value = TypeVar("Value")


class Reader(Protocol):
    """What generates."""

    def text(self, context: Sequence[str], *, may_call: bool) -> str:
        """Go on with a text.

        Args:
            context: pieces, each tokenised by itself.
            may_call: whether the next token may be ``({``; later ones always may.

        Returns:
            What follows, up to the end, or up to and with ``({``.
        """
        ...

    def call(self, context: Sequence[str]) -> str:
        """Go on with a call behind ``({``, up to and with ``-->`` where it comes so far."""
        ...


@dataclass(frozen=True)
class Read(Generic[Value]):
    """A read that found something."""

    call: str
    """From behind ``({`` up to ``-->``."""
    results: Mapping[str, Value]
    """What was spliced in, with what is known of each."""

    @property
    def pieces(self) -> list[str]:
        """As it stands in the context."""
        return [START, self.call, ";".join(self.results), END]


@dataclass
class ReadLoop(Generic[Value]):
    """One generation.

    Its first fields are given, the others say how it went; ``run`` or ``read_once`` is called once.
    """

    reader: Reader
    look_up: Callable[[Sequence[Query]], Mapping[str, Value]]
    """What queries find, by its text."""
    prompt: str
    most_calls: int = 16
    """After so many the text ends: a model may call again and again and say nothing."""
    most_results: int = MOST_RESULTS
    """A call that finds more is of no use."""
    before: list[str] = field(default_factory=list)
    """Generated before the read that stands in the context."""
    after: list[str] = field(default_factory=list)
    """Generated after it."""
    read: Read[Value] | None = None
    """Stands in the context."""
    reads: list[Read[Value]] = field(default_factory=list)
    """All that found something."""
    calls: int = 0
    """Calls that were made."""
    parsed: int = 0
    """Calls of which something could be asked."""
    dropped: list[int] = field(default_factory=list)
    """Of each call that found more than is of use, how many results it found."""

    @property
    def context(self) -> list[str]:
        """Pieces of what the model is given next."""
        read = [] if self.read is None else self.read.pieces
        return [one for one in (self.prompt, *self.before, *read, *self.after) if one]

    @property
    def said(self) -> str:
        """What was generated, without calls: the text for people."""
        return "".join([*self.before, *self.after])

    def run(self) -> str:
        """Generate to the end.

        Returns:
            ``said``.
        """
        may_call = True
        while True:
            text = self.reader.text(self.context, may_call=may_call)
            calls = text.endswith(START)
            self.after.append(text.removesuffix(START) if calls else text)
            if not calls or self.calls == self.most_calls:
                return self.said
            may_call = self._ask()

    def read_once(self) -> None:
        """Let the model call where it would call next, and leave the context ready for scoring.

        The reader is to generate as many tokens as ``({`` takes.
        """
        if self.reader.text(self.context, may_call=True).strip() == START:
            self._ask()

    def _ask(self) -> bool:
        """Let the model finish its call, and splice in what it finds; whether it found any."""
        self.calls += 1
        bare = [one for one in (self.prompt, *self.before, *self.after) if one]
        call = self.reader.call([*bare, START])
        queries = parse_read(call) if call.endswith(ARROW) else None
        self.parsed += bool(queries)
        if not queries or (self.reads and call == self.reads[-1].call):
            return False
        results = self.look_up(queries)
        if len(results) > self.most_results:
            self.dropped.append(len(results))
        if not 0 < len(results) <= self.most_results:
            return False
        self.read = Read(call, results)
        self.reads.append(self.read)
        self.before, self.after = [*self.before, *self.after], []
        return True
