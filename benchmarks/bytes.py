"""What a remembered token costs, and what fewer bits cost in answers: one text, one set of notes.

Notes are told between pages of a text, which goes on until the memory holds as many tokens as are
asked for. Then the same memory is packed, rung by rung, and asked the same questions. Bytes are
counted with all bookkeeping, in memory (long-term rows alone, and everything) and on the disk,
where texts, tokens and the short-term pool are counted too.

Run it with ``python benchmarks/bytes.py --model nano``; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from memplus.data.notes import Note, make_notes
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.memory.packing import ROWS, RowKind
from memplus.memory.state import Memory
from memplus.mplus.model import MPlus
from memplus.sessions.inspection import bytes_per_token
from memplus.store import MemoryStore

PAGE = 1200
"""Characters of text between two notes."""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    model = MPlus.from_pretrained(arguments.model).eval()
    notes = make_notes("bytes", arguments.notes, "held_out")
    rungs: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=arguments.place) as folder:
        store = MemoryStore(Path(folder) / "store")
        with store.create("exact", model, rows="exact") as memory:
            _tell(model, memory, notes, arguments.tokens)
        for kind in ROWS:
            rungs.append(_rung(model, store, kind, notes))
            print("  ".join(f"{n} {v}" for n, v in rungs[-1].items()), file=sys.stderr)
    shape = model.memory_config.to_dict()
    result = {"model": arguments.model, "memory": shape, "notes": len(notes), "rungs": rungs}
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--tokens", type=int, default=160_000)
    parser.add_argument("--notes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--place", default=None, help="a directory on the disk to be measured")
    return parser.parse_args()


def _tell(model: MPlus, memory: Memory, notes: list[Note], tokens: int) -> None:
    """Notes between pages, then the rest of the text, over and over."""
    text = language_documentation()
    pages = [text[start : start + PAGE] for start in range(0, len(text), PAGE)]
    for number, note in enumerate(notes):
        model.write(memory, f" {note.statement}", source=f"note {number}", flush=True)
        model.write(memory, pages[number % len(pages)], source="text")
    number = len(notes)
    while memory.tokens < tokens:
        part = "".join(pages[(number + more) % len(pages)] for more in range(8))
        model.write(memory, part, source="text")
        number += 8


def _rung(model: MPlus, store: MemoryStore, kind: RowKind, notes: list[Note]) -> dict[str, object]:
    """The same memory with its rows kept in one way."""
    if kind != "exact":
        store.fork("exact", kind)
        with store.open(kind, model, write=True) as memory:
            memory.pack(kind)
    with store.open(kind, model) as memory:
        assert memory.long_term is not None
        began = time.perf_counter()
        right = sum(
            note.answer.lower() in model.ask(memory, note.question).text.lower() for note in notes
        )
        rows = memory.long_term_rows
        return {
            "rows": kind,
            "tokens": memory.tokens,
            "told_per_token": round(bytes_per_token(model, kind), 1),
            "long_term_per_token": round(memory.long_term.nbytes / memory.tokens, 1),
            "long_term_per_row": round(memory.long_term.nbytes / max(1, rows), 1),
            "memory_per_token": round(memory.nbytes / memory.tokens, 1),
            "disk_per_token": round(store.size(kind) / memory.tokens, 1),
            "right_percent": round(100 * right / len(notes), 1),
            "seconds_per_question": round((time.perf_counter() - began) / len(notes), 3),
        }


if __name__ == "__main__":
    main()
