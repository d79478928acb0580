"""How long writes, first tokens and next tokens take beside the bare transformer.

    python benchmarks/latency.py --shape smollm2-135m --threads 1

The bare transformer is the same weights without memory, given the same text tokens in the same
round: a forward without head and cache beside a write, a forward with the head on the last
position and a DynamicCache beside a first token, a decoding step beside a next token. On the CPU
process time is counted, so other programs on the machine matter little; on a GPU the time until
its queue is empty. An answer with evidence stands beside the same answer without it. Figures
are medians over rounds. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from shapes import SHAPES, Shape, build
from torch import Tensor
from transformers import DynamicCache

from memplus import Memory, MPlus
from memplus.mplus.evidence import Watch

__all__ = ["main"]

NEXT_TOKENS = 4
"""Decoding steps measured per round."""
ANSWER_TOKENS = 8
WARM_UP = 2
"""Rounds that are run and not counted."""
EARLY, LATE = range(10, 21), range(190, 201)
"""Writes, counted from 1, whose ratios are compared for growth."""

KINDS = {
    "write": "write a chunk / plain forward of it",
    "first_token": "first token, first read after a write",
    "first_token_warm": "first token, memory unchanged",
    "next_token": "next token",
    "evidence": "answer with evidence / without",
}


@dataclass
class Times:
    """Seconds of one kind of work, with memory and bare, round by round."""

    memory: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Median with memory over median without."""
        return statistics.median(self.memory) / statistics.median(self.plain)

    def ratios(self) -> list[float]:
        """Round by round."""
        return [ours / plain for ours, plain in zip(self.memory, self.plain, strict=True)]


class Bench:
    """One model, one memory, and the bare transformer beside them.

    Args:
        shape: what to build.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.model: MPlus = build(shape)
        self.bare: Any = self.model.model
        self.memory: Memory = self.model.new_memory()
        self._texts = torch.Generator().manual_seed(1)

    def text(self, length: int) -> Tensor:
        """[1, length] random token ids."""
        vocabulary = self.shape.model.vocab_size
        ids = torch.randint(vocabulary, (1, length), generator=self._texts)
        return ids.to(self.shape.device)

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long one call takes."""
        clock = time.process_time
        if self.shape.device == "cuda":
            clock = time.perf_counter
            torch.cuda.synchronize()
        start = clock()
        work()
        if self.shape.device == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    def write(self, times: Times) -> None:
        """A chunk through the bare decoder and into the memory."""
        ids = self.text(self.shape.memory.chunk_tokens)
        decoder = self.model.backbone.decoder
        times.plain.append(self.seconds(lambda: decoder(input_ids=ids, use_cache=False)))
        times.memory.append(self.seconds(lambda: self.model.write_chunk(self.memory, ids)))

    def read(self, first: Times, following: Times | None = None) -> None:
        """A prompt, and some steps after it at the same length of context."""
        ids, step = self.text(self.shape.prompt_tokens), self.text(1)
        plain, ours = DynamicCache(), DynamicCache()
        first.plain.append(self.seconds(lambda: self._bare(ids, plain)))
        first.memory.append(self.seconds(lambda: self._with_memory(ids, ours)))
        for _ in range(NEXT_TOKENS if following is not None else 0):
            assert following is not None
            following.plain.append(self.seconds(lambda: self._bare(step, plain)))
            following.memory.append(self.seconds(lambda: self._with_memory(step, ours)))
            plain.crop(-1)
            ours.crop(-1)

    @torch.no_grad()
    def watched(self, ids: Tensor) -> None:
        """Generate, measuring the attention to every write."""
        watch, options = Watch([self.memory]), {"max_new_tokens": ANSWER_TOKENS}
        self.model.asker.reader.generate(ids, self.memory, None, options, watch)

    def answer(self, times: Times) -> None:
        """An answer's tokens with and without a look at the rows they attend to."""
        ids, options = self.text(self.shape.prompt_tokens), {"max_new_tokens": ANSWER_TOKENS}
        times.plain.append(
            self.seconds(lambda: self.model.generate(ids, memory=self.memory, **options))
        )
        times.memory.append(self.seconds(lambda: self.watched(ids)))

    def _bare(self, ids: Tensor, cache: DynamicCache) -> None:
        self.bare(input_ids=ids, past_key_values=cache, logits_to_keep=1)

    def _with_memory(self, ids: Tensor, cache: DynamicCache) -> None:
        self.model(ids, memory=self.memory, past_key_values=cache, logits_to_keep=1)

    @torch.no_grad()
    def rounds(self, count: int) -> dict[str, Times]:
        """Every kind of work once a round."""
        for counted in (WARM_UP, count):
            times = {kind: Times() for kind in KINDS}
            for _ in range(counted):
                self.write(times["write"])
                self.read(times["first_token"], times["next_token"])
                self.read(times["first_token_warm"])
                self.answer(times["evidence"])
        return times

    @torch.no_grad()
    def growth(self) -> float:
        """How much dearer late writes are than early ones, each beside a plain forward."""
        self.memory = self.model.new_memory()
        early, late = Times(), Times()
        for number in range(1, LATE.stop):
            self.write(early if number in EARLY else late if number in LATE else Times())
        return statistics.median(late.ratios()) / statistics.median(early.ratios())

    def row_bytes(self) -> dict[str, float]:
        """What a long-term row takes per layer: vectors, retrieval key, bookkeeping."""
        store = self.memory.long_term
        assert store is not None
        sizes = {
            name: column.element_size() * column[0].numel()
            for name, column in store.tables[0].columns().items()
        }
        key = sizes.pop("key")
        vectors = sum(sizes.pop(name) for name in ("k", "v", "hidden") if name in sizes)
        hidden = self.model.backbone.hidden_size * self.model.backbone.dtype.itemsize
        return {
            "kv_bytes_ratio": vectors / hidden,
            "key_bytes": key,
            "bookkeeping_bytes": sum(sizes.values()),
        }


def machine(shape: Shape, threads: int) -> dict[str, Any]:
    """Where the figures come from."""
    gpu = torch.cuda.get_device_name() if shape.device == "cuda" else None
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": gpu,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def table(times: dict[str, Times]) -> str:
    """Milliseconds and ratios, a line per kind of work."""
    lines = [f"{'':42}{'with memory':>14}{'plain':>12}{'ratio':>8}"]
    for kind, label in KINDS.items():
        ours, plain = (1000 * statistics.median(t) for t in (times[kind].memory, times[kind].plain))
        lines.append(f"{label:42}{ours:11.1f} ms{plain:9.1f} ms{times[kind].ratio:8.2f}")
    return "\n".join(lines)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Latency of M+ beside the bare transformer.")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="smollm2-135m")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--rounds", type=int, default=7, help="rounds counted, after warm-up")
    parser.add_argument(
        "--no-growth", action="store_true", help="leave out the 200 writes of write_growth"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure one shape and print it; 1 where the shape needs a GPU and there is none."""
    given = _arguments(arguments)
    shape = SHAPES[given.shape]
    if shape.device == "cuda" and not torch.cuda.is_available():
        print(f"{given.shape} needs a CUDA GPU, and this machine has none.", file=sys.stderr)
        return 1
    torch.set_num_threads(given.threads)
    bench = Bench(shape)
    times = bench.rounds(given.rounds)
    print(table(times), flush=True)
    growth = None if given.no_growth else bench.growth()
    if growth is not None:
        print(f"writes 190-200 over writes 10-20, each beside a plain forward: {growth:.3f}")
    figures = {f"{kind}_ratio": times[kind].ratio for kind in KINDS}
    result = {"shape": given.shape, "rounds": given.rounds, **figures, "write_growth": growth}
    print(json.dumps({**result, **bench.row_bytes(), "machine": machine(shape, given.threads)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
