"""The demonstration: the retention curve of one stream, and what the answers stand on.

The stream is that of ``memplus eval retention``, as long as the text allows. When all of it is
written, every note is asked once more, with evidence. Wrong answers are shown like right ones, and
nothing but the stream ever reaches the model.

Its notes come from the generator that a bundled model is trained on, so a shorter stream tells
notes about people whose names no generator made, and as many of one attribute side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplus.data.outside import BUNDLED_NAMES, read_names
from memplus.data.stream import Reference, Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.engine.run import InMemory, Report, run_plans
from memplus.evaluation.engine.summary import Cell, cells_of
from memplus.evaluation.tasks.outside_names import Names, outside_plan
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan
from memplus.systems.protocol import Explains, Session

__all__ = ["DISTANCES", "Demonstration", "Shown", "demonstrate", "language_documentation"]

_OUTSIDE_UP_TO = 16_000
"""Tokens at most between a note about somebody with another name and its question."""
_OUTSIDE_NOTES = 100
"""Most of them of each kind: the bundled names are twice as many."""

DISTANCES = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 160_000)


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer, with the text that it drew on most."""

    question: str
    right_answer: str
    said: str
    right: bool
    distance: int
    """Tokens read since the note."""
    share: float
    """Part of what the answer stands on that is the quoted text."""
    quote: str
    """The text that the answer stands on most."""
    quotes_note: bool
    """Whether the note begins or ends in it."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What was read and asked, and what came of it."""

    tokens: int
    notes: int
    cells: list[Cell]
    """Right answers by kind of question, system and distance."""
    shown: list[Shown]
    """The first, the middle and the last note, asked after everything was read."""
    note_first: float
    """Share of the right answers then that stand most on the note itself, 0 to 1."""
    write_seconds: float
    memory_bytes: int
    outside: list[Cell]
    """Right answers of the first system about people with other names, by kind and distance."""

    @property
    def accuracy(self) -> dict[str, float]:
        """System -> share of right answers about notes, over all distances."""
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            if cell.kind == NOTE:
                found.setdefault(cell.system, []).append(cell)
        return {
            system: sum(cell.right for cell in cells) / sum(cell.asked for cell in cells)
            for system, cells in found.items()
        }


def language_documentation() -> str:
    """CPython's own language documentation, which every installation carries."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def demonstrate(
    bench: Bench,
    text: str,
    sizes: RetentionSizes,
    *,
    seed: int,
    report: Report,
) -> Demonstration:
    """Tell notes in a text, write it, ask for them after growing distances.

    Args:
        bench: systems, the first of which says what its answers stand on; the others are asked
            beside it.
        text: what the notes are told in; its length bounds the distances.
        sizes: how many notes, and the distances, of which the farthest that fit are asked.
        seed: of the notes and of the sessions.
        report: called with (what, done, total).

    Raises:
        ConfigError: the text is too short for the shortest distance, or the first system does not
            say what its answers stand on.
        PositionsError, TokenizerMissingError: the model cannot do it.
    """
    first = bench.systems[0]
    if not first.remembers or not issubclass(first.sessions, Explains):
        reason = "it does not say what its answers stand on"
        raise ConfigError("system", value=first.name, reason=reason)
    texts = Texts.of([text], bench.reference)
    plan = _longest_plan(texts, bench.chunk, sizes, seed)
    recorder = InMemory()
    session = run_plans(bench.systems, [plan], Judge(), recorder, report)[first.name]
    asked = [one for one in plan.questions if one.kind == NOTE]
    farthest = max(one.wanted or 0 for one in asked)
    shown, notes = [], sizes.notes
    for done, question in enumerate([one for one in asked if one.wanted == farthest], start=1):
        shown.append(_shown(session, plan, question, bench.reference))
        report("asking with evidence", done, notes)
    right = [one for one in shown if one.right]
    return Demonstration(
        tokens=plan.tokens,
        notes=notes,
        cells=cells_of(recorder.lines),
        shown=[shown[place] for place in sorted({0, notes // 2, notes - 1})],
        note_first=sum(one.quotes_note for one in right) / max(1, len(right)),
        write_seconds=recorder.lines[-1]["write_seconds"],
        memory_bytes=session.nbytes,
        outside=_outside(bench, texts, plan, sizes.notes, report),
    )


def _outside(bench: Bench, texts: Texts, main: Plan, notes: int, report: Report) -> list[Cell]:
    """Notes about people with other names, at the nearest and the farthest distance there is."""
    asked = {one.wanted for one in main.questions if one.wanted is not None}
    near = {wanted for wanted in asked if wanted <= _OUTSIDE_UP_TO} or {min(asked)}
    names = Names(tuple(read_names(BUNDLED_NAMES)), one_attribute=True)
    distances = tuple(sorted({min(near), max(near)}))
    sizes = RetentionSizes(min(notes, _OUTSIDE_NOTES), distances)
    plan = outside_plan(texts, bench.chunk, sizes, main.seed, names)
    recorder = InMemory()

    def shown(what: str, done: int, total: int) -> None:
        report(f"{what} about others", done, total)

    run_plans(bench.systems[:1], [plan], Judge(), recorder, shown)
    return cells_of(recorder.lines)


def _longest_plan(texts: Texts, chunk: int, sizes: RetentionSizes, seed: int) -> Plan:
    """All distances that need no sentence of the text twice."""
    fit = [distance for distance in sizes.distances if distance < texts.tokens]
    while fit:
        plan = retention_plan(texts, chunk, RetentionSizes(sizes.notes, tuple(fit)), seed)
        if plan.tokens <= texts.tokens:
            return plan
        fit.pop()
    reason = f"a text of {texts.tokens} tokens is too short to ask for so many"
    raise ConfigError("notes", value=sizes.notes, reason=reason)


def _shown(session: Session, plan: Plan, question: Question, reference: Reference) -> Shown:
    told = question.told
    assert told is not None
    assert isinstance(session, Explains)
    (reply,) = session.explain([question.text], min_confidence=0.0)
    found = reply.evidence[0] if reply.evidence else None
    return Shown(
        question=question.text,
        right_answer=question.answers[0],
        said=reply.text,
        right=Judge().right(reply.text, question.answers),
        distance=plan.tokens - told.end,
        share=0.0 if found is None else found.share,
        quote="" if found is None else _quote(plan, found.start, found.end, reference),
        quotes_note=found is not None and found.start < told.end and told.start < found.end,
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
