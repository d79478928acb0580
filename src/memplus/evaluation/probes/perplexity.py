"""Perplexity of plain text with a full memory, against the same weights without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from memplus.data.stream import Piece, Stream, Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.run import Report
from memplus.evaluation.engine.summary import half_width
from memplus.evaluation.tasks.retention import other_notes, read_among_others
from memplus.systems.protocol import Follows, Scores, Session, System

__all__ = ["Perplexities", "Windows", "measure_perplexity", "require_text"]

_PIECES = 64
"""Most pieces of text written between two signs of progress."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Which text is predicted."""

    count: int = 64
    length: int = 256
    """Tokens of each, at least; it ends with a sentence. The first is not predicted."""


@dataclass(frozen=True, slots=True)
class Perplexities:
    """Perplexity of the same windows, by what had been read before them."""

    tokens_read: int
    predicted: int
    """Tokens, in the last system's own."""
    windows: int
    """Texts that were predicted."""
    titles: dict[str, str]
    """System -> what people call it."""
    perplexity: dict[str, float]
    """By system."""
    over_last: dict[str, tuple[float, float, float]]
    """Each over the last system: ratio and its 95% interval, from the spread over the windows."""


def measure_perplexity(
    systems: Sequence[System],
    texts: Texts,
    *,
    tokens: int,
    windows: Windows,
    seed: int,
    report: Report,
) -> Perplexities:
    """Write text with notes in it, then predict windows of other text.

    Args:
        systems: what predicts; the others are compared with the last one.
        texts: a part is predicted, another written.
        tokens: to write.
        windows: to predict.
        seed: of the sessions and the places in the text.
        report: called with (what, done, total).

    Raises:
        ConfigError: the texts are too short for both, or a system gives no likelihoods.
    """
    require_text(texts, tokens, windows)
    stream = Stream(texts, seed, "text")
    unread = [_window(stream, windows.length) for _ in range(windows.count)]
    stream.pieces, stream.tokens = [], 0
    read_among_others(stream, tokens, other_notes(seed, set()))
    sessions = _read(systems, stream, seed, report)
    losses: dict[str, list[float]] = {system.name: [] for system in systems}
    predicted = 0
    for index, window in enumerate(unread):
        for name, session in sessions.items():
            ((total, count),) = session.score([""], [[window]])[0]
            losses[name].append(-total / count)
        predicted += count
        report("predicting", index + 1, windows.count)
    last = systems[-1].name
    return Perplexities(
        tokens_read=stream.tokens,
        predicted=predicted,
        windows=windows.count,
        titles={system.name: system.title for system in systems},
        perplexity={name: math.exp(fmean(found)) for name, found in losses.items()},
        over_last={name: _over(found, losses[last]) for name, found in losses.items()},
    )


def require_text(texts: Texts, tokens: int, windows: Windows) -> None:
    """Refuse texts that are too short to write so many tokens and to predict windows of others.

    Raises:
        ConfigError: they are.
    """
    wanted = windows.count * windows.length + tokens
    if texts.tokens < wanted:
        reason = f"with the windows it takes {wanted}, the texts have {texts.tokens}"
        raise ConfigError("tokens", value=tokens, reason=reason)


def _window(stream: Stream, length: int) -> str:
    """Sentences of at least so many tokens, taken from the stream."""
    start = len(stream.pieces)
    stream.read_to(stream.tokens + length)
    return "".join(piece.text for piece in stream.pieces[start:])


def _read(
    systems: Sequence[System], stream: Stream, seed: int, report: Report
) -> dict[str, Scores]:
    """A session of each system that has read the stream."""
    names = {system.name for system in systems}
    sessions: dict[str, Session] = {}
    for system in systems:
        if not issubclass(system.sessions, Scores):
            raise ConfigError("system", value=system.name, reason="it gives no likelihoods")
        if not (isinstance(system, Follows) and system.leader in names):
            sessions[system.name] = system.open(seed)
    total = len(sessions) * len(stream.pieces)
    for index, session in enumerate(sessions.values()):
        for start in range(0, len(stream.pieces), _PIECES):
            group: Sequence[Piece] = stream.pieces[start : start + _PIECES]
            session.write([piece.text for piece in group], stream.source)
            report("reading", index * len(stream.pieces) + start + len(group), total)
    scoring: dict[str, Scores] = {}
    for system in systems:
        if isinstance(system, Follows) and system.name not in sessions:
            sessions[system.name] = system.follow(sessions[system.leader])
        found = sessions[system.name]
        assert isinstance(found, Scores)
        scoring[system.name] = found
    return scoring


def _over(losses: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of two perplexities and its 95% interval, the windows being a sample."""
    apart = [one - other for one, other in zip(losses, base, strict=True)]
    middle = fmean(apart)
    spread = half_width(apart)
    return math.exp(middle), math.exp(middle - spread), math.exp(min(700.0, middle + spread))
