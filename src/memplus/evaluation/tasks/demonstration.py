"""The demonstration: the retention curve of one stream, and what the answers stand on.

What is told is what ``demonstration_plans`` says, in a text as long as its distances need. When all
of it is written, everything told is asked for once more, with evidence. Wrong answers are shown
like right ones, and nothing but the stream ever reaches the model.

Notes are about people whose names no generator made. A shorter stream compares them with notes on
people of the generator that the nano is trained on, and with as many of one attribute side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplus.data.outside import BUNDLED_NAMES, read_names
from memplus.data.stream import Reference, Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.engine.run import InMemory, Report, run_plans
from memplus.evaluation.engine.summary import Cell, cells_of
from memplus.evaluation.tasks.demonstration_plans import ToTell
from memplus.evaluation.tasks.outside_names import Names, outside_plan
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes
from memplus.systems.protocol import Explains, Reply, Session

__all__ = ["Demonstration", "Shown", "demonstrate", "language_documentation"]

_OUTSIDE_UP_TO = 16_000
"""Tokens at most between a note about somebody with another name and its question."""
_OUTSIDE_NOTES = 100
"""Most of them of each kind: the bundled names are twice as many."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer, with the text that it drew on most."""

    question: str
    right_answer: str
    said: str
    right: bool
    distance: int
    """Tokens read since it was told."""
    share: float
    """Part of what the answer stands on that is the quoted text."""
    quote: str
    """The text that the answer stands on most."""
    quotes_told: bool
    """Whether what was told begins or ends in it."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What was read and asked, and what came of it."""

    kind: str
    """Of the questions about what was told: "note" or "statement"."""
    tokens: int
    told: int
    """Notes or statements."""
    cells: list[Cell]
    """Right answers by kind of question, system and distance."""
    shown: list[Shown]
    """The first, the middle and the last of them, asked for after everything was read."""
    told_first: float
    """Share of the right answers then that stand most on what was told itself, 0 to 1."""
    write_seconds: float
    memory_bytes: int
    outside: list[Cell]
    """Of notes: right answers of the first system about people with other names, by kind and
    distance."""

    @property
    def accuracy(self) -> dict[str, float]:
        """System -> share of right answers about what was told, over all distances."""
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            if cell.kind == self.kind:
                found.setdefault(cell.system, []).append(cell)
        return {
            system: sum(cell.right for cell in cells) / sum(cell.asked for cell in cells)
            for system, cells in found.items()
        }


def language_documentation() -> str:
    """CPython's own language documentation, which every installation carries."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def demonstrate(bench: Bench, texts: Texts, telling: ToTell, report: Report) -> Demonstration:
    """Write a text with what is told in it, and ask for that after growing distances.

    Args:
        bench: systems, the first of which says what its answers stand on; the others are asked
            beside it.
        texts: what the plan of ``telling`` is made of.
        telling: what is told and asked.
        report: called with (what, done, total).

    Raises:
        ConfigError: the first system does not say what its answers stand on.
        PositionsError, TokenizerMissingError: the model cannot do it.
    """
    first = bench.systems[0]
    if not first.remembers or not issubclass(first.sessions, Explains):
        reason = "it does not say what its answers stand on"
        raise ConfigError("system", value=first.name, reason=reason)
    plan, recorder = telling.plan, InMemory()
    session = run_plans(bench.systems, [plan], telling.judge, recorder, report)[first.name]
    shown = _asked_again(session, telling, bench.reference, report)
    right = [one for one in shown if one.right]
    about_notes = telling.kind == NOTE
    return Demonstration(
        kind=telling.kind,
        tokens=plan.tokens,
        told=telling.count,
        cells=cells_of(recorder.lines),
        shown=[shown[place] for place in sorted({0, len(shown) // 2, len(shown) - 1})],
        told_first=sum(one.quotes_told for one in right) / max(1, len(right)),
        write_seconds=recorder.lines[-1]["write_seconds"],
        memory_bytes=session.nbytes,
        outside=_outside(bench, texts, telling, report) if about_notes else [],
    )


def _asked_again(
    session: Session, telling: ToTell, reference: Reference, report: Report
) -> list[Shown]:
    """The farthest questions once more, after everything is written, with evidence."""
    assert isinstance(session, Explains)
    farthest = telling.distances[-1]
    asked = [one for one in telling.about_told if one.wanted == farthest]
    # Where the judge does not look at confidence, nothing is withheld.
    least = None if telling.judge.explained else 0.0
    replies = session.explain([one.text for one in asked], min_confidence=least)
    report("asking with evidence", len(asked), len(asked))
    return [_shown(telling, *one, reference) for one in zip(asked, replies, strict=True)]


def _outside(bench: Bench, texts: Texts, main: ToTell, report: Report) -> list[Cell]:
    """Notes about people with other names, at the nearest and the farthest distance there is."""
    asked = main.distances
    near = {wanted for wanted in asked if wanted <= _OUTSIDE_UP_TO} or {min(asked)}
    names = Names(tuple(read_names(BUNDLED_NAMES)), one_attribute=True)
    distances = tuple(sorted({min(near), max(near)}))
    sizes = RetentionSizes(min(main.count, _OUTSIDE_NOTES), distances)
    plan = outside_plan(texts, bench.chunk, sizes, main.plan.seed, names)
    recorder = InMemory()

    def shown(what: str, done: int, total: int) -> None:
        report(f"{what} about others", done, total)

    run_plans(bench.systems[:1], [plan], main.judge, recorder, shown)
    return cells_of(recorder.lines)


def _shown(telling: ToTell, question: Question, reply: Reply, reference: Reference) -> Shown:
    told = question.told
    assert told is not None
    found = reply.evidence[0] if reply.evidence else None
    return Shown(
        question=question.text,
        right_answer=question.answers[0],
        said=reply.text,
        right=telling.judge.right(reply.text, question.answers),
        distance=telling.plan.tokens - told.end,
        share=0.0 if found is None else found.share,
        quote="" if found is None else _quote(telling.plan, found.start, found.end, reference),
        quotes_told=found is not None and found.start < told.end and told.start < found.end,
    )


def _quote(plan: Plan, start: int, end: int, reference: Reference) -> str:
    """The plan's text from one token to another."""
    parts: list[str] = []
    at = 0
    for step in plan.steps:
        if at + step.tokens > start and at < end:
            place = at
            for text, ends in zip(step.pieces, reference(list(step.pieces)), strict=True):
                parts.append(_part(text, ends, start - place, end - place))
                place += len(ends)
        at += step.tokens
    return "".join(parts)


def _part(text: str, ends: Sequence[int], start: int, end: int) -> str:
    """What of a text lies from one of its tokens to another; nothing where both are outside."""
    first, last = max(0, start), min(len(ends), end)
    return text[ends[first - 1] if first else 0 : ends[last - 1]] if first < last else ""
