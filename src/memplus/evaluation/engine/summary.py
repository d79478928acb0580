"""From the lines of a run to its figures: shares with intervals, by system, kind and distance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from memplus.evaluation.engine.judging import token_f1
from memplus.systems.protocol import Recall

__all__ = ["Cell", "Threshold", "Z", "cells_of", "half_width", "mean_interval", "pooled", "wilson"]

Z = 1.959964
"""Of a two-sided 95% interval."""

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """All answers of one kind, by one system, at one distance."""

    kind: str
    system: str
    """Its name."""
    wanted: int | None
    """Tokens since the note, as asked for; None where nothing was told or all are pooled."""
    distance: float
    """Tokens since the note, on average."""
    asked: int
    right: int
    interval: tuple[float, float]
    """95% interval (Wilson) of the share of right answers."""
    by_seed: dict[int, float]
    """The same share for every seed."""
    declined: float
    """Share of answers that say that there is none."""
    outdated: float
    """Share of answers that were right before a correction."""
    f1: tuple[float, float, float]
    """Words in common with the right answer (F1, the best of several), mean and 95% interval;
    questions without one count as 0."""
    seconds: float
    """Per question."""
    bytes: float
    """Of the system's state."""
    recall: dict[str, dict[str, Any]]
    """Where a system says so, by what belongs to a note: the share of it that was retrieved."""

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right / self.asked


@dataclass(frozen=True, slots=True)
class Threshold:
    """All questions with answers of less than ``min_confidence`` withheld; shares from 0 to 1."""

    min_confidence: float
    right: float
    """Of the questions whose answer was told."""
    wrong: float
    """Of the answers given."""
    declined: float
    """Of the questions whose answer was never told."""
    wrongly_declined: float
    """Of the questions whose answer was told."""


def wilson(right: float, asked: int) -> tuple[float, float]:
    """95% interval of a share (Wilson's score interval); 0 to 1 where nothing was asked."""
    if not asked:
        return 0.0, 1.0
    share, square = right / asked, Z * Z / asked
    middle = share + square / 2
    spread = Z * ((share * (1 - share) + square / 4) / asked) ** 0.5
    low, high = (middle - spread) / (1 + square), (middle + spread) / (1 + square)
    return max(0.0, low), min(1.0, high)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of values from 0 to 1, and its 95% interval by their spread; 0 to 1 of one alone.

    Values that are all alike have no spread, although others of their kind may differ: their mean
    has the interval of a share.
    """
    middle = fmean(values) if values else 0.0
    if len(values) < 2:
        return middle, 0.0, 1.0
    if min(values) == max(values):
        return middle, *wilson(sum(values), len(values))
    spread = half_width(values)
    return middle, max(0.0, middle - spread), min(1.0, middle + spread)


def half_width(values: Sequence[float]) -> float:
    """Half of the 95% interval of a mean, by the values' own spread; infinite below two of them."""
    return Z * stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("inf")


def cells_of(lines: Iterable[Line]) -> list[Cell]:
    """One cell per kind, system and distance, in the order in which they first appear."""
    groups: dict[tuple[str, str, int | None], list[Line]] = defaultdict(list)
    for line in lines:
        if line["key"] != "end":
            groups[line["kind"], line["system"], line.get("wanted")].append(line)
    return [_cell(*key, group) for key, group in groups.items()]


def pooled(lines: Iterable[Line], *, kind: str, system: str, within: int) -> Cell | None:
    """All answers of a kind by a system at distances up to ``within`` tokens; None if there are
    none."""
    group = [
        line
        for line in lines
        if line["key"] != "end"
        and (line["kind"], line["system"]) == (kind, system)
        and line["wanted"] is not None
        and line["wanted"] <= within
    ]
    return _cell(kind, system, None, group) if group else None


def _cell(kind: str, system: str, wanted: int | None, group: Sequence[Line]) -> Cell:
    by_seed: dict[int, list[bool]] = defaultdict(list)
    for line in group:
        by_seed[line["seed"]].append(line["right"])
    right = sum(line["right"] for line in group)
    return Cell(
        kind=kind,
        system=system,
        wanted=wanted,
        distance=fmean(line["distance"] or 0 for line in group),
        asked=len(group),
        right=right,
        interval=wilson(right, len(group)),
        by_seed={seed: fmean(found) for seed, found in by_seed.items()},
        declined=fmean(line["declined"] for line in group),
        outdated=fmean(line["outdated"] for line in group),
        f1=mean_interval([_f1(line) for line in group]),
        seconds=fmean(line["seconds"] for line in group),
        bytes=fmean(line["bytes"] for line in group),
        recall=_recall([line for line in group if line.get("rows")]),
    )


def _f1(line: Line) -> float:
    return max((token_f1(line["said"], answer) for answer in line["answers"]), default=0.0)


def _recall(group: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Means over the questions of which any row is stored, all layers together and by layer."""
    found: dict[str, dict[str, Any]] = {}
    for name in group[0]["rows"] if group else ():
        rows = [(Recall(**line["rows"][name]), line["by_chance"]) for line in group]
        rows = [(one, chance) for one, chance in rows if one.mean is not None]
        if not rows:
            continue
        layers = zip(*(one.by_layer for one, _ in rows), strict=True)
        found[name] = {
            "questions": len(rows),
            "mean": fmean(one.mean or 0.0 for one, _ in rows),
            "by_layer": [
                _mean([share for share in layer if share is not None]) for layer in layers
            ],
            "by_chance": fmean(chance for _, chance in rows),
        }
    return found


def _mean(shares: Sequence[float]) -> float | None:
    return fmean(shares) if shares else None
