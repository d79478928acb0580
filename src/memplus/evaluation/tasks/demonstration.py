"""The demonstration: the retention curve of one stream, and what the answers stand on.

The stream is that of ``memplus eval retention``, as long as the text allows. When all of it is
written, every note is asked once more, with evidence. Wrong answers are shown like right ones, and
nothing but the stream ever reaches the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.judging import is_right
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.engine.results import encode_with
from memplus.evaluation.engine.run import InMemory, Judging, Report, run_plans
from memplus.evaluation.engine.summary import Cell, cells_of
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan

if TYPE_CHECKING:
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus

__all__ = ["Demonstration", "Shown", "demonstrate", "language_documentation"]

_DISTANCES = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 160_000)


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
    """Part of the attention to memory rows that went to the quoted write."""
    quote: str
    """Text of that write."""
    quotes_note: bool
    """Whether the note begins or ends in it."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What was read and asked, and what came of it."""

    tokens: int
    notes: int
    cells: list[Cell]
    """Right answers by kind of question, method and distance."""
    shown: list[Shown]
    """The first, the middle and the last note, asked after everything was read."""
    note_first: float
    """Share of the right answers then whose most attended write holds the note, 0 to 1."""
    write_seconds: float
    memory_bytes: int

    @property
    def accuracy(self) -> dict[str, float]:
        """Method -> share of right answers about notes, over all distances."""
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            if cell.kind == NOTE:
                found.setdefault(cell.method, []).append(cell)
        return {
            method: sum(cell.right for cell in cells) / sum(cell.asked for cell in cells)
            for method, cells in found.items()
        }


def language_documentation() -> str:
    """CPython's own language documentation, which every installation carries."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def demonstrate(model: MPlus, text: str, *, notes: int, seed: int, report: Report) -> Demonstration:
    """Tell notes in a text, write it, ask for them after growing distances.

    Args:
        model: a model with a tokenizer; one with a long-term memory shows the difference.
        text: what the notes are told in; its length bounds the distances.
        notes: how many; each is asked at every distance.
        seed: of the notes and of the memory.
        report: called with (what, done, total).

    Raises:
        ConfigError: the text is too short for the shortest distance.
        PositionsError, TokenizerMissingError: the model cannot do it.
    """
    texts = Texts.of([text], encode_with(model))
    plan = _longest_plan(texts, model.memory_config.chunk_tokens, notes, seed)
    recorder = InMemory()
    memory = run_plans(model, [plan], Judging(), recorder, report)
    assert memory is not None
    asked = [one for one in plan.questions if one.kind == NOTE]
    farthest = max(one.wanted or 0 for one in asked)
    shown = []
    for done, question in enumerate([one for one in asked if one.wanted == farthest], start=1):
        shown.append(_shown(model, memory, plan, question))
        report("asking with evidence", done, notes)
    right = [one for one in shown if one.right]
    return Demonstration(
        tokens=plan.tokens,
        notes=notes,
        cells=cells_of(recorder.lines, model.memory_config),
        shown=[shown[place] for place in sorted({0, notes // 2, notes - 1})],
        note_first=sum(one.quotes_note for one in right) / max(1, len(right)),
        write_seconds=recorder.lines[-1]["write_seconds"],
        memory_bytes=memory.nbytes,
    )


def _longest_plan(texts: Texts, chunk: int, notes: int, seed: int) -> Plan:
    """All distances that need no sentence of the text twice."""
    fit = [distance for distance in _DISTANCES if distance < texts.tokens]
    while fit:
        plan = retention_plan(texts, chunk, RetentionSizes(notes, tuple(fit)), seed)
        if plan.tokens <= texts.tokens:
            return plan
        fit.pop()
    reason = f"a text of {texts.tokens} tokens is too short to ask for so many"
    raise ConfigError("notes", value=notes, reason=reason)


def _shown(model: MPlus, memory: Memory, plan: Plan, question: Question) -> Shown:
    told = question.told
    assert told is not None
    answer = model.ask(memory, question.text)
    found = next((one for one in answer.evidence if one.write_id), None)
    quote, share, inside = "", 0.0, False
    if found is not None:
        end = found.start + found.tokens
        quote = str(model.tokenizer.decode(_ids(plan, found.start, end)))
        share = found.share
        inside = found.start < told.end and told.start < end
    return Shown(
        question=question.text,
        right_answer=question.answers[0],
        said=answer.text,
        right=is_right(answer.text, question.answers[0]),
        distance=plan.tokens - told.end,
        share=share,
        quote=quote,
        quotes_note=inside,
    )


def _ids(plan: Plan, start: int, end: int) -> list[int]:
    return [token for step in plan.steps for token in step.ids][start:end]
