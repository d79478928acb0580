"""How well a trained model keeps notes: ``python -m memplus.training.measure``.

Held-out notes are told between sentences of a held-out text. Each is asked twice: at once, with
up to a chunk of text after it, and after all of them and many further tokens, other notes among
them, have been written. The same is done without the long-term store and without any memory.

Shapes: none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from memplus.memory.state import Memory
from memplus.model import MPlus
from memplus.notes import Note, make_notes
from memplus.training.corpus import SENTENCE_END, read_texts

__all__ = ["Marks", "measure"]

_BETWEEN = (2, 7)
"""Sentences between two notes to be asked."""
_OTHERS_EVERY = 12
"""Sentences between two other notes on the way."""


@dataclass(frozen=True)
class Marks:
    """Shares of exactly right answers, 0 to 1."""

    notes: int
    further_tokens: int
    """Written between the last asked note and the later questions."""
    at_once: float
    later: float
    later_open: float
    """Of values that have to be copied: numbers and invented words."""
    later_closed: float
    """Of values from a list known from training."""


def measure(model: MPlus, texts: Sequence[str], notes: int, further: int, seed: int = 0) -> Marks:
    """Tell, ask at once, read on, ask again.

    Args:
        model: as loaded; ``retrieved_tokens=0`` measures it without the long-term store.
        texts: held-out texts, long enough for all of it.
        notes: how many are asked.
        further: tokens to read before asking again.
        seed: of the notes and their places.
    """
    random = Random(seed)
    memory = model.new_memory(seed)
    sentences = _sentences(texts)
    asked = make_notes(seed, notes, "held_out")
    at_once = 0
    for note in asked:
        before = _take(sentences, random.randint(*_BETWEEN))
        after = _take(sentences, random.choice([0, 1, 2]))
        model.write(memory, f"{before} {note.statement}{after}")
        at_once += _right(model, memory, note)
    count = 0
    others = iter(make_notes(f"{seed} others", 4000, "held_out", subjects=2000))
    while count < further:
        text = f"{_take(sentences, _OTHERS_EVERY)} {next(others).statement}"
        count += model.write(memory, text).tokens
    right = [_right(model, memory, note) for note in asked]
    is_open = [note.value_class in ("number", "word") for note in asked]
    return Marks(
        notes,
        count,
        at_once / notes,
        sum(right) / notes,
        sum(r for r, o in zip(right, is_open) if o) / max(1, sum(is_open)),
        sum(r for r, o in zip(right, is_open) if not o) / max(1, notes - sum(is_open)),
    )


def _sentences(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        ends = [match.end() for match in SENTENCE_END.finditer(text)]
        yield from (text[a:b] for a, b in zip([0, *ends[:-1]], ends))


def _take(sentences: Iterator[str], count: int) -> str:
    return "".join(next(sentences) for _ in range(count))


def _right(model: MPlus, memory: Memory, note: Note) -> bool:
    return model.ask(memory, note.question).text == note.answer


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description="Measure how a model keeps held-out notes.")
    parser.add_argument("texts", type=Path, nargs="+", help="held-out text files")
    parser.add_argument("--model", default="nano", help="a name, a directory or a hub id")
    parser.add_argument("--notes", type=int, default=200, help="notes that are asked")
    parser.add_argument("--further", type=int, default=50_000, help="tokens before asking again")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    texts = list(read_texts(given.texts))
    model = MPlus.from_pretrained(given.model)
    short = MPlus.from_pretrained(given.model, retrieved_tokens=0)
    asked = make_notes(given.seed, given.notes, "held_out")
    blank = model.new_memory(given.seed)
    result = {
        "with_long_term": asdict(measure(model, texts, given.notes, given.further, given.seed)),
        "without_long_term": asdict(measure(short, texts, given.notes, given.further, given.seed)),
        "nothing_told": sum(_right(model, blank, note) for note in asked) / given.notes,
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
