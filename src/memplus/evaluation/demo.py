"""The demonstration: one long text with planted notes, read once, asked everything.

The text is written into a single memory. The same drops serve both models: the memory without
its long-term store is what a MemoryLLM would hold. Answers are judged strictly, wrong ones shown
like right ones, and nothing but the planted text ever reaches the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memplus.errors import TokenizerMissingError
from memplus.evaluation.planting import Fact, PlantedText, Tokenize, distance_edges, plant, spread
from memplus.evaluation.recall import Bin, Outcome, ask_all, by_distance
from memplus.notes import make_notes

if TYPE_CHECKING:
    from memplus.answers import Answer
    from memplus.memory.state import Memory
    from memplus.model import MPlus

__all__ = ["Demonstration", "Shown", "demonstrate", "language_documentation", "tokenize_with"]

Report = Callable[[str, int, int], None]

LONG_TERM, SHORT_TERM, WITHOUT = "M+", "MemoryLLM", "no memory"


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
    curves: dict[str, list[Bin]]
    """``M+``, ``MemoryLLM`` and ``no memory`` -> right answers by distance."""
    shown: list[Shown]
    note_first: float
    """Share of M+'s right answers whose most attended write holds the note, 0 to 1."""
    write_seconds: float
    ask_seconds: float
    memory_bytes: int

    def accuracy(self, curve: str) -> float:
        """Share of right answers of one curve over all distances."""
        bins = self.curves[curve]
        return sum(one.right for one in bins) / max(1, sum(one.asked for one in bins))


def language_documentation() -> str:
    """CPython's own language documentation, which every installation carries."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def tokenize_with(model: MPlus) -> Tokenize:
    """The model's tokenizer in the form that planting needs."""
    tokenizer = model.tokenizer
    if not tokenizer.is_fast:
        raise TokenizerMissingError(f"{model.name} (its tokenizer gives no offsets, so it)")

    def tokenize(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return made["input_ids"], made["offset_mapping"]

    return tokenize


def demonstrate(
    model: MPlus, text: str, *, notes: int, seed: int, report: Report, source: str = "text"
) -> Demonstration:
    """Plant notes in a text, write it, ask all of them with, and without, the long-term store.

    Args:
        model: a model with a tokenizer; one with a long-term store shows the difference.
        text: what the notes are hidden in.
        notes: how many, spread over all distances from the end.
        seed: of the notes and of the memory.
        report: called with (what, done, total).
        source: the text's name.

    Raises:
        ConfigError: the text has too few sentences for the notes.
        PositionsError, TokenizerMissingError: the model cannot do it.
    """
    tokenize = tokenize_with(model)
    edges = distance_edges(len(tokenize(text)[0]))
    facts = [
        Fact(note.statement, note.question, note.answer)
        for note in make_notes(seed, notes, "held_out")
    ]
    planted = plant(text, facts, distances=spread(notes, edges), tokenize=tokenize)
    edges[-1] = len(planted.ids) + 1
    memory = model.new_memory(seed)
    started = time.perf_counter()
    model.write(
        memory, planted.ids, source=source, progress=lambda done, of: report("reading", done, of)
    )
    written = time.perf_counter()
    short = memory.short_term_only()
    outcomes = {
        LONG_TERM: _asked(model, memory, planted, report, LONG_TERM),
        SHORT_TERM: _asked(model, short, planted, report, SHORT_TERM),
        WITHOUT: _asked(model, model.new_memory(seed), planted, report, WITHOUT),
    }
    asked = time.perf_counter()
    right = [one for one in outcomes[LONG_TERM] if one.right]
    first = sum(_shown(model, one, planted).quotes_note for one in right)
    return Demonstration(
        tokens=len(planted.ids),
        notes=len(planted.planted),
        curves={name: by_distance(found, edges) for name, found in outcomes.items()},
        shown=[_shown(model, one, planted) for one in _three(outcomes[LONG_TERM])],
        note_first=first / max(1, len(right)),
        write_seconds=written - started,
        ask_seconds=asked - written,
        memory_bytes=memory.nbytes,
    )


def _asked(
    model: MPlus, memory: Memory, planted: PlantedText, report: Report, name: str
) -> list[Outcome[Answer]]:
    outcomes = []
    for outcome in ask_all(
        planted.planted,
        ask=lambda question: model.ask(memory, question),
        text_of=lambda answer: answer.text,
    ):
        outcomes.append(outcome)
        report(f"asking {name}", len(outcomes), len(planted.planted))
    return outcomes


def _three(outcomes: Sequence[Outcome[Answer]]) -> list[Outcome[Answer]]:
    """The farthest, the middle and the nearest note, right or wrong."""
    places = sorted({0, len(outcomes) // 2, len(outcomes) - 1})
    return [outcomes[place] for place in places]


def _shown(model: MPlus, outcome: Outcome[Answer], planted: PlantedText) -> Shown:
    found = next((one for one in outcome.answer.evidence if one.write_id), None)
    end = len(planted.ids) - outcome.planted.distance
    quote, share, inside = "", 0.0, False
    if found is not None:
        span = planted.ids[found.start : found.start + found.tokens]
        quote = str(model.tokenizer.decode(list(span)))
        share = found.share
        length = len(model.encode(" " + outcome.planted.fact.statement))
        inside = found.start < end and end - length < found.start + found.tokens
    return Shown(
        question=outcome.planted.fact.question,
        right_answer=outcome.planted.fact.answer,
        said=outcome.said,
        right=outcome.right,
        distance=outcome.planted.distance,
        share=share,
        quote=quote,
        quotes_note=inside,
    )
