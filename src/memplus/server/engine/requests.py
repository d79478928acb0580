"""What the engine is asked for and what it gives: values without behaviour beyond their checks.

Shapes: none of these hold tensors; ids are plain integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from memplus.errors import ConfigError
from memplus.memory.state import Memory
from memplus.mplus.arguments import check_count
from memplus.mplus.evidence import Evidence

__all__ = [
    "EngineCounts",
    "EngineLimits",
    "Finished",
    "Piece",
    "ReadRequest",
    "Sampling",
    "TokenScore",
]

_MOST_ALTERNATIVES = 20


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one answer are chosen, and where it ends.

    Raises:
        ConfigError: a field is out of its range.
    """

    max_new_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    top_p: float = 1.0
    """Tokens are drawn from the likeliest ones that together have this chance; in (0, 1]."""
    seed: int | None = None
    """Equal ones draw equal tokens, whatever else runs; None: other tokens each time."""
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    logprobs: int | None = None
    """How many alternatives are given beside each token, 0 to 20; None: no chances at all."""
    strip: bool = True
    """Whether blanks at both ends of the answer are left out, as ``MPlus.ask`` does."""
    ignore_end: bool = False
    """Whether the answer goes on past the model's end tokens, to its most tokens: for timings."""

    def __post_init__(self) -> None:
        check_count("max_new_tokens", self.max_new_tokens)
        _check_range("temperature", self.temperature, 0.0, 100.0)
        _check_range("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise ConfigError("top_p", value=self.top_p, reason="it must be above 0")
        if self.logprobs is not None:
            _check_range("logprobs", self.logprobs, 0, _MOST_ALTERNATIVES)
        if not all(isinstance(one, str) and one for one in self.stop):
            raise ConfigError("stop", value=self.stop, reason="each must be a text, not empty")


@dataclass(frozen=True)
class ReadRequest:
    """One prompt to be answered from a memory."""

    memory: Memory | None
    """None: the plain model."""
    ids: tuple[int, ...]
    """The prompt."""
    sampling: Sampling
    asking: int | None = None
    """How many last tokens of the prompt ask the long-term memory; None: all of it does."""
    evidence: bool = False
    """Whether the attention paid is measured, and named in ``Finished``."""
    min_confidence: float = 0.0
    """An answer of less confidence is withheld, and the prompt's abstention given."""

    def __post_init__(self) -> None:
        _check_range("min_confidence", self.min_confidence, 0.0, 1.0)
        if self.asking is not None:
            check_count("asking", self.asking)


@dataclass(frozen=True)
class TokenScore:
    """One token of an answer and how likely it was."""

    id: int
    spelt: bytes
    """Its own bytes: of a character that takes several tokens, a part."""
    logprob: float
    """Natural logarithm of its chance, before any temperature."""
    top: tuple[tuple[int, bytes, float], ...] = ()
    """(id, bytes, logprob) of the likeliest tokens, likeliest first."""


@dataclass(frozen=True)
class Piece:
    """The next piece of an answer: it cuts no character, and no stop can take it back."""

    text: str
    tokens: tuple[TokenScore, ...] = ()
    """Those that began in this piece, where chances were asked for."""


@dataclass(frozen=True)
class Finished:
    """The end of an answer."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    """Of the caller, a memory's waiting text not counted."""
    completion_tokens: int
    confidence: float = 0.0
    """As ``Answer.confidence``; 0 where no attention was measured."""
    evidence: list[Evidence] = field(default_factory=list)
    withheld: str = ""
    """The answer that was not confident enough; the abstention was given in its place."""


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of what the engine holds and does at a time.

    Raises:
        ConfigError: a field is out of its range.
    """

    running: int = 16
    """Most requests decoded together."""
    waiting: int = 64
    """Most requests that wait for a place; the next one is refused at once."""
    waiting_seconds: float = 60.0
    """A request that has waited so long for a place is refused."""
    prefill_tokens: int = 128
    """Most prompt tokens read between two tokens of the answers that run."""
    write_share: float = 0.5
    """Most of the time that goes to writes while answers are asked for; above 0, below 1."""
    writes_waiting: int = 256
    """Most writes, retrievals and other calls that wait; the next one is refused at once."""
    writes_together: int = 8
    """Most writes in one pass, which those share that are alike, and most that begin before it."""
    write_tokens: int = 512
    """Most tokens written in one pass while answers are asked for; a chunk at least."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(one.default, int):
                check_count(one.name, value)
        _check_range("waiting_seconds", self.waiting_seconds, 0.0, 1e9)
        _check_range("write_share", self.write_share, 0.01, 0.99)


@dataclass(frozen=True)
class EngineCounts:
    """What the engine does now, and has done since it was started."""

    running: int = 0
    """Answers that are decoded."""
    waiting: int = 0
    """Requests that wait for a place."""
    writes: int = 0
    """Writes begun or waiting."""
    calls: int = 0
    """Other calls that wait."""
    finished: int = 0
    """Answers given to their end."""
    cancelled: int = 0
    refused: int = 0
    """Requests refused because the engine was full."""
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    written_tokens: int = 0


def _check_range(name: str, value: object, low: float, high: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise ConfigError(name, value=value, reason=f"it must be a number in {low:g} to {high:g}")
