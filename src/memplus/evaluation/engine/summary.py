"""From the lines of a run to its figures: shares with intervals, by method, kind and distance.

Shapes: none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from memplus.config import MemoryConfig
from memplus.systems.protocol import Recall

__all__ = ["Cell", "cells_of", "pooled", "survival", "wilson"]

_Z = 1.959964
"""Of a two-sided 95% interval."""

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """All answers of one kind, by one method, at one distance."""

    kind: str
    method: str
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
    abstained: float
    """Share of answers that say that there is no note."""
    outdated: float
    """Share of answers that were right before a correction."""
    seconds: float
    """Per question."""
    bytes: float
    """Of the memory."""
    recall: dict[str, dict[str, Any]]
    """"statement" and "chunk": share of stored rows of the note that were retrieved."""

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right / self.asked


def wilson(right: int, asked: int) -> tuple[float, float]:
    """95% interval of a share (Wilson's score interval); 0 to 1 where nothing was asked."""
    if not asked:
        return 0.0, 1.0
    share, square = right / asked, _Z * _Z / asked
    middle = share + square / 2
    spread = _Z * ((share * (1 - share) + square / 4) / asked) ** 0.5
    low, high = (middle - spread) / (1 + square), (middle + spread) / (1 + square)
    return max(0.0, low), min(1.0, high)


def survival(config: MemoryConfig, tokens: float) -> float:
    """Chance that a row is still in the short-term pool after so many tokens (2402.04624, 3.1.3).

    Every write of a chunk drops K of N rows at random, so a row survives w writes with the chance
    (1 - K/N) ** w.
    """
    kept = 1 - config.tokens_per_write / config.short_term_tokens
    return float(kept ** (tokens / config.chunk_tokens))


def cells_of(lines: Iterable[Line], config: MemoryConfig) -> list[Cell]:
    """One cell per kind, method and distance, in the order in which they first appear.

    Args:
        lines: of a run.
        config: of the model's memory; says what the retriever would find by chance.
    """
    groups: dict[tuple[str, str, int | None], list[Line]] = defaultdict(list)
    for line in lines:
        if line["key"] != "end":
            groups[line["kind"], line["method"], line.get("wanted")].append(line)
    return [_cell(*key, group, config) for key, group in groups.items()]


def pooled(
    lines: Iterable[Line], config: MemoryConfig, *, kind: str, method: str, within: int
) -> Cell | None:
    """All answers of a kind by a method at distances up to ``within`` tokens; None if none."""
    group = [
        line
        for line in lines
        if line["key"] != "end"
        and (line["kind"], line["method"]) == (kind, method)
        and line["wanted"] is not None
        and line["wanted"] <= within
    ]
    return _cell(kind, method, None, group, config) if group else None


def _cell(
    kind: str, method: str, wanted: int | None, group: Sequence[Line], config: MemoryConfig
) -> Cell:
    by_seed: dict[int, list[bool]] = defaultdict(list)
    for line in group:
        by_seed[line["seed"]].append(line["right"])
    right = sum(line["right"] for line in group)
    return Cell(
        kind=kind,
        method=method,
        wanted=wanted,
        distance=fmean(line["distance"] or 0 for line in group),
        asked=len(group),
        right=right,
        interval=wilson(right, len(group)),
        by_seed={seed: fmean(found) for seed, found in by_seed.items()},
        abstained=fmean(line["abstained"] for line in group),
        outdated=fmean(line["outdated"] for line in group),
        seconds=fmean(line["seconds"] for line in group),
        bytes=fmean(line["bytes"] for line in group),
        recall=_recall([line for line in group if line.get("rows")], config),
    )


def _recall(group: Sequence[Line], config: MemoryConfig) -> dict[str, dict[str, Any]]:
    """Means over the questions of which any row is stored, all layers together and by layer."""
    found: dict[str, dict[str, Any]] = {}
    for name in group[0]["rows"] if group else ():
        rows = [(Recall(**line["rows"][name]), line["long_term_rows"]) for line in group]
        rows = [(one, stored) for one, stored in rows if one.mean is not None]
        if not rows:
            continue
        layers = zip(*(one.by_layer for one, _ in rows), strict=True)
        found[name] = {
            "questions": len(rows),
            "mean": fmean(one.mean or 0.0 for one, _ in rows),
            "by_layer": [
                _mean([share for share in layer if share is not None]) for layer in layers
            ],
            "by_chance": fmean(min(1.0, config.retrieved_tokens / stored) for _, stored in rows),
        }
    return found


def _mean(shares: Sequence[float]) -> float | None:
    return fmean(shares) if shares else None
