"""What keeping memories on a disk costs: writes, opening, first answers, many at once, growth.

Writes with and without a store alternate in one run, so that their ratio means something on a busy
machine. Large memories are filled with rows of the right shape and kind without running the model
for each: opening and answering do the same work on them.

Run it with ``python benchmarks/store.py``; the last line is JSON. ``--shape`` times the writes
alone, of a larger model with random weights.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from shapes import SHAPES, build

from memplus.data.notes import Note, make_notes
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.memory.packing import centres_of, pack, scale_of, unpack
from memplus.memory.records import Passage, WriteRecord
from memplus.memory.retriever import retrieval_scores
from memplus.memory.rows import RowTable
from memplus.memory.state import Memory
from memplus.mplus.model import MPlus
from memplus.store import MemoryStore, StoredMemory

QUESTION = "What is Marta Velez's locker code?"
NOTE = "Marta Velez's locker code is 4821."
CALL_CHUNKS = 256
MEGABYTE = 1 << 20
PAGE = 1200
"""Characters of text between two notes."""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    shape = arguments.shape
    model = build(SHAPES[shape]) if shape else MPlus.from_pretrained(arguments.model).eval()
    with tempfile.TemporaryDirectory(dir=arguments.place) as folder:
        result = measured(model, Path(folder), arguments)
    result["machine"] = {
        "threads": arguments.threads,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    for name, value in result.items():
        print(f"{name:>28}  {value}", file=sys.stderr)
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="time the writes of this one only")
    parser.add_argument("--calls", type=int, nargs="*", default=[1, 8, 32], help="chunks of a call")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20, help="pairs of writes")
    parser.add_argument("--tokens", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--memories", type=int, default=100)
    parser.add_argument("--notes", type=int, default=60, help="notes told, asked and forgotten")
    parser.add_argument("--ram", type=int, default=256 * MEGABYTE, help="budget of a memory")
    parser.add_argument("--place", default=None, help="a directory on the disk to be measured")
    return parser.parse_args()


def measured(model: MPlus, folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Every figure, by name."""
    store = MemoryStore(folder / "store", ram=arguments.ram)
    name = arguments.shape or arguments.model
    result: dict[str, object] = {"model": name, "ram_budget": arguments.ram}
    for chunks in arguments.calls:
        ratio, seconds = write_ratio(model, store, chunks, arguments.rounds)
        result[f"write_ratio_{chunks}_chunks"] = ratio
        result[f"chunks_per_second_{chunks}"] = chunks / seconds
    if arguments.shape:
        return result
    sizes = [size_figures(model, store, tokens) for tokens in arguments.tokens]
    result["sizes"] = sizes
    if len(sizes) > 1:
        first, last = sizes[0], sizes[-1]
        result["growth_tokens"] = last["tokens"] / first["tokens"]
        for name in ("open_seconds", "first_answer_seconds", "fork_seconds", "commit_seconds"):
            result[f"growth_{name}"] = last[name] / first[name]
    if arguments.tokens:
        result |= many(model, store, arguments.tokens[0], arguments.memories)
        result |= packed_figures(model, store, arguments.tokens[min(1, len(sizes) - 1)])
    if arguments.notes:
        result |= notes_figures(model, store, arguments.notes)
    return result


def write_ratio(model: MPlus, store: MemoryStore, chunks: int, rounds: int) -> tuple[float, float]:
    """Time of a durable write over one without a store, and seconds of the durable one."""
    ids = _ids(model, chunks)
    name = f"writes of {chunks}"
    times: dict[str, list[float]] = {"stored": [], "plain": []}
    with store.create(name, model, rows="exact") as stored:
        plain = model.new_memory(rows="exact")
        for turn in range(rounds + 2):
            for kind, memory in (("stored", stored), ("plain", plain)):
                seconds = _timed(lambda m=memory: model.write(m, ids, source="text"))
                if turn > 1:
                    times[kind].append(seconds)
    store.delete(name)
    ratio = statistics.mean(times["stored"]) / statistics.mean(times["plain"])
    return ratio, statistics.mean(times["stored"])


def _ids(model: MPlus, chunks: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    count = chunks * model.memory_config.chunk_tokens
    highest = model.backbone.embedding.num_embeddings
    return torch.randint(highest // 2, highest, (count,), generator=generator).tolist()


def _timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def fill(model: MPlus, memory: StoredMemory, tokens: int) -> None:
    """A note, then rows like its own until so many tokens are written."""
    model.write(memory, NOTE, source="note", flush=True)
    pool = memory.pool
    assert pool is not None
    like = pool.recent
    size = model.memory_config.chunk_tokens
    generator = torch.Generator().manual_seed(tokens)
    left = -(-tokens // size)
    while left:
        memory.before_write()
        for _ in range(min(left, CALL_CHUNKS)):
            noise = torch.randn(like.shape, generator=generator) * like.std()
            _take_in(model, memory, like.roll(int(noise[0, 0, 0] * 7), 1) * 0.3 + noise, size)
            left -= 1
        memory.commit()


@torch.no_grad()
def _take_in(model: MPlus, memory: Memory, hidden: torch.Tensor, size: int) -> None:
    start = memory.source_tokens.get("filler", 0)
    record = WriteRecord(len(memory.writes) + 1, "filler", start, size)
    memory.take_in(model.new_rows(hidden), record, None, Passage((1,) * size, "filler " * size))
    memory.source_tokens["filler"] = start + size


def size_figures(model: MPlus, store: MemoryStore, tokens: int) -> dict[str, float]:
    """Opening and asking a memory of so many tokens."""
    name = _name(tokens)
    with store.create(name, model, rows="exact") as memory:
        fill(model, memory, tokens)
    del memory
    gc.collect()
    before = resident()
    opened: list[StoredMemory] = []
    figures: dict[str, float] = {"tokens": tokens, "disk_bytes": store.size(name)}
    figures["open_seconds"] = _timed(lambda: opened.append(store.open(name, model, write=True)))
    (memory,) = opened
    figures["first_answer_seconds"] = _timed(lambda: model.ask(memory, QUESTION))
    figures["second_answer_seconds"] = _timed(lambda: model.ask(memory, QUESTION))
    figures["resident_bytes"] = resident() - before
    ids = _ids(model, 1)
    model.write(memory, ids, source="after")
    figures["commit_seconds"] = statistics.median(
        _timed(lambda: model.write(memory, ids, source="after")) for _ in range(5)
    )
    memory.close()
    used = _free(store.path)
    figures["fork_seconds"] = _timed(lambda: store.fork(name, f"fork of {name}"))
    figures["fork_disk_bytes"] = used - _free(store.path)
    return figures


def _name(tokens: int) -> str:
    return f"{tokens} tokens"


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bfree * found.f_frsize


def resident() -> int:
    """Bytes of this process in memory, mapped files included, what forks share counted once."""
    with open("/proc/self/smaps_rollup") as file:
        (line,) = [line for line in file if line.startswith("Pss:")]
    return int(line.split()[1]) * 1024


def many(model: MPlus, store: MemoryStore, tokens: int, count: int) -> dict[str, object]:
    """Forks of one memory, all open at once within a budget each, each asked once."""
    ram = 16 * MEGABYTE
    store = MemoryStore(store.path, ram=ram)
    for number in range(count):
        store.fork(_name(tokens), f"one of many {number}")
    gc.collect()
    before = resident()
    started = time.perf_counter()
    opened = [store.open(f"one of many {number}", model) for number in range(count)]
    seconds = time.perf_counter() - started
    for memory in opened:
        model.ask(memory, QUESTION, max_new_tokens=1)
    found = {
        "many": count,
        "many_tokens_each": tokens,
        "many_ram_budget": count * ram,
        "many_open_seconds": seconds,
        "many_resident_bytes": resident() - before,
    }
    for memory in opened:
        memory.close()
    return dict(found)


def packed_figures(model: MPlus, store: MemoryStore, tokens: int) -> dict[str, object]:
    """The same rows in 8 bits: bytes, and how many of the rows retrieved are the same."""
    with store.open(_name(tokens), model) as memory:
        exact, packed = memory.fork(), memory.fork()
        packed.pack()
        assert exact.long_term is not None
        assert packed.long_term is not None
        kept = [n for n in ("k", "v", "hidden") if n in exact.long_term.tables[0].names]
        numbers = sum(exact.long_term.tables[0][n][:1].numel() for n in kept)
        wide = 2 * model.backbone.kv_heads * model.backbone.head_dim
        same = asked = same_by_packed_keys = 0
        generator = torch.Generator().manual_seed(1)
        for layer, table in enumerate(exact.long_term.tables):
            for _ in range(8):
                rows = torch.randint(0, len(table), (4,), generator=generator)
                queries = table.take("key", rows)
                left = set(exact.long_term.retrieve(layer, queries)[0].tolist())
                right = set(packed.long_term.retrieve(layer, queries)[0].tolist())
                same, asked = same + len(left & right), asked + len(left)
                same_by_packed_keys += len(left & _by_packed_keys(table, queries, len(left)))
    return {
        "int8_bytes_over_bf16_rows": (numbers + 4 * len(kept)) / (2 * numbers),
        "int8_bytes_over_bf16_kv": (numbers + 4 * len(kept)) / (2 * wide),
        "int8_overlap": same / asked,
        "int8_overlap_if_keys_were_packed": same_by_packed_keys / asked,
    }


def notes_figures(model: MPlus, store: MemoryStore, count: int) -> dict[str, object]:
    """Notes told between pages of a text: right answers, in 8 bits, and once they are forgotten."""
    notes = make_notes("store", count, "held_out")
    text = language_documentation()
    with store.create("notes", model, rows="exact") as memory:
        for number, note in enumerate(notes):
            model.write(memory, f" {note.statement}", source=f"note {number}", flush=True)
            page = text[number * PAGE : (number + 1) * PAGE]
            model.write(memory, page, source="documentation")
        told = [one.id for one in memory.writes if one.source.startswith("note")]
        packed, cheap = memory.fork(), memory.fork()
        packed.pack()
        cheap.forget(write=told)
        figures: dict[str, object] = {"notes": count, "notes_tokens": memory.tokens}
        figures["notes_right"] = _right(model, memory, notes)
        figures["notes_right_int8"] = _right(model, packed, notes)
        figures["notes_right_forgotten"] = _right(model, cheap, notes)
        figures["forget_seconds"] = _timed(lambda: memory.forget(write=told[:1]))
        figures["rebuild_seconds"] = _timed(lambda: memory.forget(write=told, rebuild=True))
        figures["notes_right_rebuilt"] = _right(model, memory, notes)
    return figures


def _right(model: MPlus, memory: Memory, notes: list[Note]) -> int:
    """How many questions are answered with the note's value."""
    return sum(
        note.answer.lower() in model.ask(memory, note.question).text.lower() for note in notes
    )


def _by_packed_keys(table: RowTable, queries: torch.Tensor, count: int) -> set[int]:
    """What would be retrieved if retrieval keys had 8 bits too."""
    rows = {"k": table["key"]}
    packed = pack(rows, "int8", centres_of(rows))
    keys = unpack(packed["k"], packed[scale_of("k")], torch.float32, centres_of(rows)["k"])
    return set(retrieval_scores(queries, keys).topk(count).indices.tolist())


if __name__ == "__main__":
    main()
