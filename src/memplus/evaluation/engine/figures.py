"""What answers come to: one value with its interval, for one kind of question at one length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from memplus.evaluation.engine.judging import token_f1
from memplus.evaluation.engine.summary import mean_interval, wilson

__all__ = ["Figure", "best_f1", "groups_of", "means", "pooled", "repeated", "shares"]

Line = Mapping[str, Any]
_REPEATS = "repeats"


@dataclass(frozen=True, slots=True)
class Figure:
    """One value of one system."""

    kind: str
    """The questions."""
    wanted: int | None
    """Their distance or length in tokens; None where there is none."""
    measure: str
    """"right", "F1", "perplexity", ..."""
    value: float
    """A share is from 0 to 1."""
    low: float
    """Of the 95% interval."""
    high: float
    asked: int
    declined: float
    """Share of answers that say that there is none."""
    seconds: float
    """Per question."""
    bytes: float
    """Of the system's state when it was asked, on average."""
    repeats: bool = False
    """Whether its questions stand under other kinds, too: who counts questions, or averages over
    kinds, leaves it out."""


def groups_of(lines: Iterable[Line]) -> dict[tuple[str, int | None], list[Line]]:
    """Lines by kind and by distance or length, in the order in which they first appear."""
    groups: dict[tuple[str, int | None], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line["kind"], line["wanted"]].append(line)
    return groups


def shares(lines: Iterable[Line], measure: str = "right", key: str = "right") -> list[Figure]:
    """Shares of lines of which something is true, with Wilson's interval.

    Args:
        lines: of one system.
        measure: what figures call it.
        key: the field of a line that says it.
    """
    found = []
    for (kind, wanted), group in groups_of(lines).items():
        true = sum(bool(line[key]) for line in group)
        value = true / len(group)
        found.append(_figure(kind, wanted, measure, (value, *wilson(true, len(group))), group))
    return found


def means(lines: Iterable[Line], measure: str, value: Callable[[Line], float]) -> list[Figure]:
    """Means of values from 0 to 1, with the interval of their spread.

    Args:
        lines: of one system.
        measure: what figures call it.
        value: of a line.
    """
    return [
        _figure(kind, wanted, measure, mean_interval([value(line) for line in group]), group)
        for (kind, wanted), group in groups_of(lines).items()
    ]


def pooled(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """The same lines as of one kind and without a length, so that they come to one figure."""
    return repeated({**line, "kind": "all", "wanted": None} for line in lines)


def repeated(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Lines that stand under another kind or length once more; their figures say so."""
    return [{**line, _REPEATS: True} for line in lines]


def best_f1(line: Line) -> float:
    """Words in common with the best of a line's answers."""
    return max((token_f1(line["said"], answer) for answer in line["answers"]), default=0.0)


def _figure(
    kind: str,
    wanted: int | None,
    measure: str,
    value: tuple[float, float, float],
    group: list[Line],
) -> Figure:
    return Figure(
        kind,
        wanted,
        measure,
        *value,
        asked=len(group),
        declined=fmean(line["declined"] for line in group),
        seconds=fmean(line["seconds"] for line in group),
        bytes=fmean(line["bytes"] for line in group),
        repeats=any(_REPEATS in line for line in group),
    )
