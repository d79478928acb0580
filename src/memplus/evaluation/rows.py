"""The table of what a model with a memory is to show: every row a measure, beside what to reach.

Rows come from the lines of two runs over the same held-out items, each told alone and all told in
one stream (``tasks.told``), and from one measurement of perplexity. A goal is compared with the
share itself, not with an end of its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memplus.evaluation.engine.judging import token_f1
from memplus.evaluation.engine.summary import mean_interval, wilson
from memplus.evaluation.probes.bm25 import Found
from memplus.evaluation.probes.perplexity import Perplexities
from memplus.evaluation.tasks.held_out import CORRECTION, STATEMENT
from memplus.evaluation.tasks.told import NEVER_TOLD
from memplus.systems.protocol import Recall

__all__ = ["BM25", "Figure", "Goals", "Lines", "Row", "goals_of", "markdown", "rows_of", "shown"]

FULL_CONTEXT, MPLUS, MEMORYLLM, BM25 = "full_context", "mplus", "memoryllm", "bm25"

_OF_PROMPT = {0: 0.95, 16_000: 0.90, 160_000: 0.85}
"""Distance -> least share right, as a part of what is right with the text in the prompt."""
_CORRECTIONS = {1_000: 0.85, 16_000: 0.80}
_DECLINED, _WRONGLY_DECLINED = 0.85, 0.10
_RETRIEVED = {"SQuAD": 0.95, "NQ": 0.90, STATEMENT: 0.95}
_CITED = 0.85
_PERPLEXITY = 1.02

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goals:
    """What a larger model is to reach more of than a smaller one."""

    statements: Mapping[int, float]
    """Distance -> least share right."""
    passages: Mapping[str, float] = field(default_factory=dict)
    """Kind of passages -> least share right where they were just written, in any case."""


_SMALL = Goals({0: 0.85, 16_000: 0.80, 160_000: 0.75})
_OF_MODEL = {"qwen-0.5b": Goals({0: 0.90, 16_000: 0.85, 160_000: 0.85}, {"SQuAD": 0.65})}


def goals_of(model: str) -> Goals:
    """Those of a model by its name: of a model without any of its own, those of the smallest."""
    return _OF_MODEL.get(model, _SMALL)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number and its 95% interval."""

    value: float
    low: float
    high: float
    asked: int
    """Questions, or windows of text, behind it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of several systems."""

    measure: str
    figures: dict[str, Figure]
    """By system."""
    goal: str = ""
    """What is to be reached, in words; empty where the figure is only reported."""
    reached: bool | None = None
    """By the first system that has a goal; None where there is none."""
    shares: bool = True
    """Whether the figures are shares of 1, shown in percent."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What a table is made of."""

    alone: Sequence[Line]
    """Answers of items told alone."""
    told: Sequence[Line]
    """Answers of items told in a stream."""
    perplexity: Perplexities | None = None
    by_words: Sequence[Found] = ()
    """What BM25 found at the longest distance."""
    declined: Callable[[Line], bool] = field(default=lambda line: bool(line["declined"]))
    """Whether an answer counts as declined."""
    goals: Goals = _SMALL

    def asked(self, kind: str, distance: int | None = None) -> dict[str, list[Line]]:
        """System -> its answers, of a kind at a distance of the stream; None: told alone."""
        lines = self.alone if distance is None else self.told
        return _by_system(
            line
            for line in lines
            if _is_asked(line)
            and line["kind"] == kind
            and (distance is None or line["wanted"] == distance)
        )

    def distances(self, kind: str) -> list[int]:
        """Those of a kind in the stream, rising."""
        found = {line["wanted"] for line in self.told if line.get("kind") == kind}
        return sorted(found - {None})

    @property
    def kinds(self) -> list[str]:
        """What is told, in the order in which it was asked."""
        return list(dict.fromkeys(line["kind"] for line in self.alone if _is_asked(line)))


def _is_asked(line: Line) -> bool:
    return bool(line["key"] != "end")


def rows_of(lines: Lines) -> list[Row]:
    """All rows that the lines have answers for."""
    rows: list[Row] = []
    for kind in lines.kinds:
        goals = {STATEMENT: lines.goals.statements, CORRECTION: _CORRECTIONS}.get(kind)
        rows += _kind_rows(lines, kind, goals)
    rows += _declining_rows(lines)
    for kind in lines.kinds:
        rows += _evidence_rows(lines, kind)
    if lines.perplexity is not None:
        rows.append(_perplexity_row(lines.perplexity))
    return rows


def _kind_rows(lines: Lines, kind: str, goals: Mapping[int, float] | None) -> Iterator[Row]:
    """Contained and F1: alone, then at each distance. Without goals of its own a kind is measured
    against the text in the prompt."""
    alone = {name: _contained(group) for name, group in lines.asked(kind).items()}
    yield Row(f"{kind}, alone, at once: contained", alone)
    if goals is None:
        found = {name: _f1(group) for name, group in lines.asked(kind).items()}
        yield Row(f"{kind}, alone, at once: token F1", found)
    for distance in lines.distances(kind):
        asked = lines.asked(kind, distance)
        measure = f"{kind}, after {distance:,} tokens"
        figures = {name: _contained(group) for name, group in asked.items()}
        if goals is None:
            least = 0.0 if distance else lines.goals.passages.get(kind, 0.0)
            yield _beside_prompt(f"{measure}: contained", figures, alone, distance, least)
            found = {name: _f1(group) for name, group in asked.items()}
            yield Row(f"{measure}: token F1", found)
        else:
            yield _at_least(f"{measure}: contained", figures, goals.get(distance))
        if kind == CORRECTION:
            older = {
                name: _share([bool(line["outdated"]) for line in group])
                for name, group in asked.items()
            }
            yield Row(f"{measure}: the older value", older)


def _beside_prompt(
    measure: str,
    figures: dict[str, Figure],
    alone: Mapping[str, Figure],
    distance: int,
    least: float,
) -> Row:
    part, prompt = _OF_PROMPT.get(distance, 0.0), alone.get(FULL_CONTEXT)
    of_prompt = part * prompt.value if prompt else 0.0
    if least > of_prompt:
        return _at_least(measure, figures, least)
    if not of_prompt:
        return Row(measure, figures)  # a part of nothing is nothing to reach
    row = _at_least(measure, figures, of_prompt)
    goal = f"at least {part:.0%} of the text in the prompt: {100 * of_prompt:.1f}%"
    return Row(measure, row.figures, goal, row.reached)


def _at_least(measure: str, figures: dict[str, Figure], goal: float | None) -> Row:
    best = _first(figures)
    if goal is None or best is None:
        return Row(measure, figures)
    return Row(measure, figures, f"at least {goal:.0%}", best.value >= goal)


def _declining_rows(lines: Lines) -> Iterator[Row]:
    by_system = _by_system(line for line in lines.told if _is_asked(line))
    never: dict[str, Figure] = {}
    wrongly: dict[str, Figure] = {}
    still: dict[str, Figure] = {}
    for name, group in by_system.items():
        untold = [line for line in group if line["kind"] == NEVER_TOLD]
        told = [line for line in group if line["kind"] != NEVER_TOLD]
        never |= {name: _share([lines.declined(line) for line in untold])} if untold else {}
        wrongly[name] = _share([lines.declined(line) for line in told])
        still[name] = _share([line["right"] and not lines.declined(line) for line in told])
    if never:
        yield _at_least("never told: declined", never, _DECLINED)
    best = _first(wrongly)
    if best is not None:
        reached = best.value <= _WRONGLY_DECLINED
        yield Row("told: declined", wrongly, f"at most {_WRONGLY_DECLINED:.0%}", reached)
        yield Row("told: answered, and rightly", still)


def _evidence_rows(lines: Lines, kind: str) -> Iterator[Row]:
    """At the longest distance: what was retrieved, and what stood first in the evidence."""
    distances = lines.distances(kind)
    asked = lines.asked(kind, distances[-1]) if distances else {}
    found: dict[str, Figure] = {}
    cited: dict[str, Figure] = {}
    for name, group in asked.items():
        shares = [share for line in group if (share := _retrieved(line)) is not None]
        found |= {name: _mean(shares)} if shares else {}
        right = [bool(line["cited"]) for line in group if line["right"] and "cited" in line]
        cited |= {name: _share(right)} if right else {}
    words = [one.found for one in lines.by_words if one.kind == kind]
    found |= {BM25: _share(words)} if found and words else {}
    measure = f"{kind}, after {distances[-1] if distances else 0:,} tokens"
    if found:
        yield _at_least(f"{measure}: what states the answer retrieved", found, _RETRIEVED.get(kind))
    if cited:
        yield _at_least(f"{measure}, right answers: it stands first in the evidence", cited, _CITED)


def _retrieved(line: Line) -> float | None:
    """Whether a span that states the answer was retrieved, 1 or 0; the share of such rows where
    layers retrieve rows; None where none of them is in the long-term memory."""
    rows = line.get("rows")
    if not rows:
        return None
    recall = Recall(**rows["value"])
    spans = len(recall.stored) == 1
    return recall.mean if recall.mean is None or not spans else float(recall.retrieved[0] > 0)


def _perplexity_row(found: Perplexities) -> Row:
    """Perplexities over that of the last system, which has a new memory."""
    figures = {
        name: Figure(*ratio, found.windows) for name, ratio in list(found.over_last.items())[:-1]
    }
    best = _first(figures)
    reached = None if best is None else best.value <= _PERPLEXITY
    measure = f"perplexity with {found.tokens_read:,} tokens read, over that of a new memory"
    return Row(measure, figures, f"at most {_PERPLEXITY}", reached, shares=False)


def _by_system(lines: Iterable[Line]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line["system"], []).append(line)
    return groups


def _first(figures: Mapping[str, Figure]) -> Figure | None:
    """What a goal is about: M+, or MemoryLLM of a model without a long-term memory."""
    return figures.get(MPLUS) or figures.get(MEMORYLLM)


def _contained(group: Sequence[Line]) -> Figure:
    return _share([bool(line["right"]) for line in group])


def _share(flags: Sequence[bool]) -> Figure:
    count = len(flags)
    return Figure(sum(flags) / count if count else 0.0, *wilson(sum(flags), count), count)


def _mean(shares: Sequence[float]) -> Figure:
    """Of shares, or of whether something was so: the interval is then that of a share."""
    if set(shares) <= {0.0, 1.0}:
        return _share([share == 1.0 for share in shares])
    return Figure(*mean_interval(shares), len(shares))


def _f1(group: Sequence[Line]) -> Figure:
    found = [max(token_f1(line["said"], one) for one in line["answers"]) for line in group]
    return Figure(*mean_interval(found), len(found))


def markdown(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """The rows as a table in Markdown, a column for every system that has a figure.

    Args:
        rows: of the table.
        titles: system -> what people call it.
    """
    names = [name for name in titles if any(name in row.figures for row in rows)]
    head = ["measure", *(titles[name] for name in names), "to reach", "reached"]
    body = [
        [
            row.measure,
            *(shown(row, name) for name in names),
            row.goal,
            {None: "", True: "yes", False: "no"}[row.reached],
        ]
        for row in rows
    ]
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def shown(row: Row, name: str) -> str:
    """One figure as people read it; empty where the system has none."""
    figure = row.figures.get(name)
    if figure is None:
        return ""
    if not row.shares:
        return f"{figure.value:.4f} ({figure.low:.4f}-{figure.high:.4f}), n {figure.asked}"
    value, low, high = (100 * one for one in (figure.value, figure.low, figure.high))
    return f"{value:.1f}% ({low:.0f}-{high:.0f}), n {figure.asked}"
