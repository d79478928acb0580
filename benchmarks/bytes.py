"""What a remembered token costs, and what fewer bytes cost in answers to the same questions.

    python benchmarks/bytes.py --model nano
    python benchmarks/bytes.py --model smollm2 --questions data/squad/dev-v2.0.json.gz

Something is told in a text that goes on until the memory holds as many tokens as are asked for.
Then the same memory is kept in one way after another, a rung each, and asked the same questions:
rows in 8, 4 and 2 bits; rows of some layers alone, for which no bundled reader is trained; a second
memory of the same text, with half as many rows a write (K); and these together.

Without ``--questions`` notes are told, for the nano. With it, held-out passages of that file and
held-out statements are, and an answer is right where it holds the right one (``memplus eval``).

``grows_per_token`` is everything that grows with the text: the memory's files, or its long-term
rows in memory where these are more (they are the files mapped). Rows, keys, their bookkeeping,
texts and tokens are in it. The short-term pool, which has one size whatever is written, is not; nor
are earlier states, of which a store keeps up to a gigabyte and here none. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from telling import HeldOutTold, NotesTold, WhatIsTold

from memplus import Memory, MPlus
from memplus.config import MemoryConfig
from memplus.evaluation.engine.summary import wilson
from memplus.memory.layout import LongTermLayout
from memplus.memory.packing import KEY, ROWS, RowKind
from memplus.memory.rows import RowTable
from memplus.sessions.inspection import bytes_per_token
from memplus.store import MemoryStore
from memplus.store.erasing import take_contents
from memplus.store.limits import Limits

__all__ = ["kept_in_layers", "main"]

Figures = dict[str, Any]


@dataclass(frozen=True)
class Rung:
    """One way to keep a memory."""

    rows: RowKind
    half: bool = False
    """Whether writes leave half as many rows."""
    layers: str | None = None
    """The layers whose rows are kept; None: all."""

    @property
    def name(self) -> str:
        """What it is called in the output and by ``--rungs``."""
        parts = [self.rows, "K/2" if self.half else "", f"layers {self.layers}" * bool(self.layers)]
        return ", ".join(part for part in parts if part)


def main() -> None:
    """Measure and print."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, device=given.device, dtype=given.dtype).eval()
    path, notes = given.questions, given.notes
    telling = HeldOutTold(path, given.items) if path else NotesTold(notes)
    rungs = [one for one in ladder(model) if not given.rungs or one.name in given.rungs]
    found: list[Figures] = []
    first: list[bool] = []
    with tempfile.TemporaryDirectory(dir=given.place) as folder:
        limits = Limits(history=0)
        store = MemoryStore(Path(folder) / "store", durability="relaxed", limits=limits)
        bench = Bench(model, store, telling, given.tokens)
        for rung in rungs:
            figures, right = bench.measure(rung)
            first = first or right
            found.append(figures | _against(first, right))
            print("  ".join(f"{n} {v}" for n, v in found[-1].items()), file=sys.stderr)
    result = {
        "model": given.model,
        "device": str(model.device),
        "dtype": str(model.backbone.dtype).removeprefix("torch."),
        "memory": model.memory_config.to_dict(),
        "told": telling.told,
        "questions": len(telling.asked),
        "rungs": found,
        "cheapest": {f"at most {most} points lost": _cheapest(found, most) for most in (1, 3)},
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--questions", type=Path, help="passages with questions, as SQuAD's file")
    parser.add_argument("--items", type=int, default=100, help="passages told, and statements")
    parser.add_argument("--notes", type=int, default=100, help="notes told without --questions")
    parser.add_argument("--tokens", type=int, default=160_000)
    parser.add_argument("--rungs", nargs="*", help="only these, the first one for comparison")
    parser.add_argument("--device", default=os.environ.get("MEMPLUS_DEVICE") or "cpu")
    parser.add_argument("--dtype", help="of the model: what suits the device")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--place", default=None, help="a directory on the disk to be measured")
    return parser.parse_args()


# The ladder -------------------------------------------------------------------------------------


def ladder(model: MPlus) -> list[Rung]:
    """The rungs that a model's memory can stand on, the widest first."""
    config, layers = model.memory_config, len(model.backbone.layers)
    rungs = [Rung(rows) for rows in ROWS]
    half = config.tokens_per_write % (2 * config.span_rows) == 0
    if half:
        rungs += [Rung(rows, half=True) for rows in ROWS]
    if config.retrieves_spans and config.long_term_layers is None:
        third, last = layers // 3, layers - 1
        most = f"{third}-{last}"
        some = (most, f"{third}-{2 * third - 1}", f"{2 * third}-{last}")
        rungs += [Rung("exact", layers=named) for named in some]
        rungs += [Rung("int4", layers=most)]
        rungs += [Rung("int4", half=True, layers=most)] if half else []
    return rungs


class Bench:
    """One text, told to a memory for each K, and measured on every rung.

    Args:
        model: as it was loaded.
        store: where memories are made.
        telling: what is told and asked.
        tokens: of the whole text.
    """

    def __init__(self, model: MPlus, store: MemoryStore, telling: WhatIsTold, tokens: int) -> None:
        self.model = model
        self.store = store
        self.telling = telling
        self.tokens = tokens

    def measure(self, rung: Rung) -> tuple[Figures, list[bool]]:
        """Figures of one rung, and which of the questions are answered rightly."""
        config = self.model.memory_config
        if rung.half:
            config = replace(config, tokens_per_write=config.tokens_per_write // 2)
        model = _under(self.model, config)
        name = self._kept(model, rung)
        with self.store.open(name, model) as whole:
            disk = self.store.size(name)
            with kept_in_layers(model, whole, rung.layers) as (reader, memory):
                figures = _sizes(reader, memory, disk - (whole.nbytes - memory.nbytes))
                answers, right = self._ask(reader, memory)
        shown = {
            "rung": rung.name,
            "rows": rung.rows,
            "tokens_per_write": config.tokens_per_write,
            "layers": rung.layers or model.memory_config.long_term_layers or "all",
        }
        return shown | figures | answers, right

    def _kept(self, model: MPlus, rung: Rung) -> str:
        """The name of the memory with all layers' rows in the rung's bits; made the first time."""
        wide = "half" if rung.half else "whole"
        if wide not in self.store:
            with self.store.create(wide, model, rows="exact") as memory:
                self.telling.tell(model, memory, self.tokens)
        if rung.rows == "exact":
            return wide
        name = f"{wide} {rung.rows}"
        if name not in self.store:
            self.store.fork(wide, name)
            with self.store.open(name, model, write=True) as memory:
                memory.pack(rung.rows)
        return name

    def _ask(self, model: MPlus, memory: Memory) -> tuple[Figures, list[bool]]:
        asked = self.telling.asked
        began = time.perf_counter()
        answers = model.ask(memory, [one.question for one in asked])
        seconds = time.perf_counter() - began
        right = [self.telling.right(*pair) for pair in zip(asked, answers, strict=True)]
        kinds = dict.fromkeys(one.kind for one in asked)
        by_kind = {
            kind: _share([ok for one, ok in zip(asked, right, strict=True) if one.kind == kind])
            for kind in kinds
        }
        more = {"by_kind": by_kind} if len(kinds) > 1 else {}
        each = {"seconds_per_question": round(seconds / len(asked), 3)}
        return _share(right) | more | each, right


def _under(model: MPlus, config: MemoryConfig) -> MPlus:
    """The same weights with memories of other sizes."""
    made = MPlus(
        model.model,
        config,
        model.weights,
        tokenizer=model.tokenizer,
        prompt=model.prompt,
        pristine=model.pristine,
    ).eval()
    made.core.name = model.name
    return made


@contextmanager
def kept_in_layers(
    model: MPlus, memory: Memory, layers: str | None
) -> Iterator[tuple[MPlus, Memory]]:
    """The memory with rows of some layers alone, and the model that reads it.

    Its rows are those of ``memory``, where they lie.
    """
    if layers is None:
        yield model, memory
        return
    config = replace(model.memory_config, long_term_layers=layers)
    reader = _under(model, config)
    twin = reader.new_memory(memory.seed, rows=memory.rows)
    take_contents(twin, memory)
    twin.config = config
    assert memory.long_term is not None
    tables = memory.long_term.tables
    layout = LongTermLayout.of(config, len(tables))
    twin.long_term = twin.long_term_of(
        [_of_layer(table, layout, layer) for layer, table in enumerate(tables)]
    )
    yield reader, twin


def _of_layer(table: RowTable, layout: LongTermLayout, layer: int) -> RowTable:
    """What a layout keeps of one layer's rows; copies nothing but keys and bookkeeping."""
    if layer in layout.stored:
        return table.fork()
    return RowTable({name: table[name] for name in table.names if layout.has(name, layer)})


# Figures ----------------------------------------------------------------------------------------


def _sizes(model: MPlus, memory: Memory, disk: int) -> Figures:
    """What a token and a row take.

    Args:
        model: whose memory it is.
        memory: full.
        disk: bytes of its files.
    """
    pool, rows = memory.pool, memory.long_term
    assert pool is not None
    assert rows is not None
    keys = sum(
        len(table) * table.between(KEY, 0, 1).nbytes for table in rows.tables if KEY in table.names
    )
    tokens = memory.tokens
    return {
        "tokens": tokens,
        "told_per_token": round(bytes_per_token(model, memory.rows), 1),
        "long_term_per_token": round(rows.nbytes / tokens, 1),
        "long_term_per_row": round(rows.nbytes / max(1, len(rows)), 1),
        "keys_per_token": round(keys / tokens, 1),
        "memory_per_token": round(memory.nbytes / tokens, 1),
        "disk_per_token": round(disk / tokens, 1),
        "grows_per_token": round(max(disk - pool.nbytes, rows.nbytes) / tokens, 1),
    }


def _share(right: Sequence[bool]) -> Figures:
    """Right answers in percent, with their 95% interval."""
    low, high = wilson(sum(right), len(right))
    return {
        "asked": len(right),
        "right_percent": round(100 * sum(right) / len(right), 1),
        "interval": [round(100 * low, 1), round(100 * high, 1)],
    }


def _against(first: Sequence[bool], right: Sequence[bool]) -> Figures:
    """What the first rung had right and this one has not, and the other way round."""
    pairs = list(zip(first, right, strict=True))
    return {"lost": sum(a and not b for a, b in pairs), "won": sum(b and not a for a, b in pairs)}


def _cheapest(found: Sequence[Mapping[str, Any]], most: float) -> str:
    """The rung of fewest bytes that loses at most so many points against the first."""
    least = found[0]["right_percent"] - most
    kept = [one for one in found if one["right_percent"] >= least]
    name: str = min(kept, key=lambda one: one["grows_per_token"])["rung"]
    return name


if __name__ == "__main__":
    main()
