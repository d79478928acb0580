"""How long writes, first tokens and next tokens take beside the bare transformer.

    python benchmarks/latency.py --shape smollm2-135m --threads 1
    python benchmarks/latency.py --dtype bf16 --dtype fp32
    python benchmarks/latency.py --shape llama-3.1-8b --device cuda --rounds 5
    python benchmarks/latency.py --system hmt --system memlong

The bare transformer is the same weights without memory, given the same text tokens in the same
round: a forward without head and cache beside a write, a forward with the head on the last
position and a DynamicCache beside a first token, a decoding step beside a next token. On the CPU
process time is counted, so other programs on the machine matter little; on a GPU the time until
its queue is empty, and the most memory that PyTorch held on it. An answer with evidence stands
beside the same answer without it.

Each dtype has a process of its own, so that its peak of resident memory is its own; their rounds
take turns, so that they see the same machine. Figures are medians over rounds. The last line of
the output is JSON.

``--system`` measures other ways of remembering instead (``system_costs.py`` says how).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from shapes import DTYPES, SHAPES, Shape, add_device, build, is_there, now, on_gpu
from system_costs import latent_systems, measure_system
from torch import Tensor
from transformers import DynamicCache

from memplus import Memory, MPlus
from memplus.backbone.processor import bfloat16_unit
from memplus.mplus.evidence import Watch
from memplus.passes.pristine import Pristine

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

    def take(self, other: Times) -> None:
        """Add the times of further rounds."""
        self.memory += other.memory
        self.plain += other.plain


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
        self.model.pristine = Pristine()  # as a model that reads a memory of its own
        self._texts = torch.Generator().manual_seed(1)

    def text(self, length: int) -> Tensor:
        """[1, length] random token ids."""
        vocabulary = self.shape.model.vocab_size
        ids = torch.randint(vocabulary, (1, length), generator=self._texts)
        return ids.to(self.shape.device)

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long one call takes."""
        start = now(self.shape.device)
        work()
        return now(self.shape.device) - start

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
    def round(self) -> dict[str, Times]:
        """Every kind of work once."""
        times = {kind: Times() for kind in KINDS}
        self.write(times["write"])
        self.read(times["first_token"], times["next_token"])
        self.read(times["first_token_warm"])
        self.answer(times["evidence"])
        return times

    @torch.no_grad()
    def growth(self) -> float:
        """How much dearer late writes are than early ones, each beside a plain forward."""
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


# In the process of a dtype ------------------------------------------------------------------------

_BENCHES: list[Bench] = []


def _open(shape: Shape, threads: int) -> None:
    torch.set_num_threads(threads)
    _BENCHES.append(Bench(shape))
    for _ in range(WARM_UP):
        _BENCHES[0].round()
    # Peaks start anew, without that of building; a container may keep Linux's own as it is.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if on_gpu(shape.device):
        torch.cuda.reset_peak_memory_stats()


def _round() -> dict[str, Times]:
    return _BENCHES[0].round()


def _growth() -> float:
    return _BENCHES[0].growth()


def _row_bytes() -> dict[str, float]:
    return _BENCHES[0].row_bytes()


def _peak_bytes() -> int:
    """Most resident memory of this process: since it was reset, or on other systems ever."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _peak_gpu_bytes() -> int | None:
    """Most bytes that PyTorch held on the GPU since it was reset; None: it runs on the CPU."""
    if not on_gpu(_BENCHES[0].shape.device):
        return None
    return torch.cuda.max_memory_allocated()


# In the process that was called -------------------------------------------------------------------


@dataclass
class Measured:
    """What was found for one dtype."""

    shape: Shape
    times: dict[str, Times]
    peak: int
    peak_gpu: int | None
    growth: float | None
    row_bytes: dict[str, float]

    @property
    def tokens_per_second(self) -> float:
        """Text tokens that go into the memory in a second."""
        return self.shape.memory.chunk_tokens / statistics.median(self.times["write"].memory)

    def table(self) -> str:
        """Milliseconds and ratios, a line per kind of work, and what they come to."""
        lines = [f"{'':42}{'with memory':>14}{'plain':>12}{'ratio':>8}"]
        for kind, label in KINDS.items():
            one = self.times[kind]
            ours, plain = (1000 * statistics.median(t) for t in (one.memory, one.plain))
            lines.append(f"{label:42}{ours:11.1f} ms{plain:9.1f} ms{one.ratio:8.2f}")
        lines.append(
            f"reads {self.tokens_per_second:,.0f} tokens a second; "
            f"at most {self.peak / 1e6:,.0f} MB resident"
        )
        if self.peak_gpu is not None:
            lines[-1] += f", {self.peak_gpu / 1e6:,.0f} MB on the GPU"
        if self.growth is not None:
            label = "writes 190-200 over writes 10-20, each beside a plain forward"
            lines.append(f"{label}: {self.growth:.3f}")
        return "\n".join(lines)

    def figures(self) -> dict[str, Any]:
        """For the last line of the output."""
        gpu = {} if self.peak_gpu is None else {"peak_gpu_bytes": self.peak_gpu}
        return {
            **{f"{kind}_ratio": self.times[kind].ratio for kind in KINDS},
            **{f"{kind}_ms": 1000 * statistics.median(self.times[kind].memory) for kind in KINDS},
            "write_growth": self.growth,
            "tokens_per_second": self.tokens_per_second,
            "peak_bytes": self.peak,
            **gpu,
            **self.row_bytes,
        }


def measure(shapes: dict[str, Shape], threads: int, rounds: int, *, growth: bool) -> list[Measured]:
    """All shapes, round by round in turns."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools: dict[str, Executor] = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, spawn, initializer=_open, initargs=(shape, threads))
            )
            for name, shape in shapes.items()
        }
        for pool in pools.values():
            pool.submit(_row_bytes).result()  # one is built and warmed up after another
        times = {name: {kind: Times() for kind in KINDS} for name in shapes}
        for _ in range(rounds):
            for name, pool in pools.items():
                for kind, more in pool.submit(_round).result().items():
                    times[name][kind].take(more)
        return [
            Measured(
                shape,
                times[name],
                pools[name].submit(_peak_bytes).result(),
                pools[name].submit(_peak_gpu_bytes).result(),
                pools[name].submit(_growth).result() if growth else None,
                pools[name].submit(_row_bytes).result(),
            )
            for name, shape in shapes.items()
        ]


def compared(names: list[str], found: list[Measured]) -> dict[str, float]:
    """How many times as fast the first dtype is as the second, with memory."""
    first, second = (
        {kind: statistics.median(times.memory) for kind, times in one.times.items()}
        for one in found
    )
    faster = {kind: second[kind] / first[kind] for kind in KINDS if kind != "evidence"}
    words = ", ".join(f"{kind.replace('_', ' ')} {times:.2f}" for kind, times in faster.items())
    print(f"{names[0]} against {names[1]}, times as fast with memory: {words}")
    return faster


def machine(shape: Shape, threads: int) -> dict[str, Any]:
    """Where the figures come from."""
    gpu = torch.cuda.get_device_name() if on_gpu(shape.device) else None
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "bfloat16": bfloat16_unit(),
        "threads": threads,
        "gpu": gpu,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Latency of M+ beside the bare transformer.")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="smollm2-135m")
    parser.add_argument(
        "--dtype",
        choices=sorted(DTYPES),
        action="append",
        help="of the model and its memory, the shape's own by default; give both to compare them",
    )
    add_device(parser)
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--rounds", type=int, default=7, help="rounds counted, after warm-up")
    parser.add_argument(
        "--growth",
        action="store_true",
        help="measure what 200 writes one after another cost too, which takes minutes",
    )
    parser.add_argument(
        "--system",
        action="append",
        help=f"measure this one instead of M+: {', '.join(latent_systems())}; with options "
        "as NAME:OPTION=VALUE; may be repeated",
    )
    parser.add_argument("--told", type=int, default=65_536, help="tokens that --system is told")
    return parser.parse_args(arguments)


def systems(shape: Shape, given: argparse.Namespace) -> dict[str, Any]:
    """What each system of ``--system`` costs; a line of each is printed."""
    torch.set_num_threads(given.threads)
    found: dict[str, Any] = {}
    for spec in given.system:
        one = found[spec] = measure_system(shape, spec, given.rounds, given.told)
        print(
            f"{spec}: a write of {one['segment_tokens']} tokens costs {one['write_ratio']:.2f} of "
            f"a plain forward, after {one['told_tokens']:,} tokens {one['late_write_ratio']:.2f}; "
            f"a question there {one['ask_ms']:.0f} ms, {one['ask_ratio']:.2f} of "
            f"one after {one['few_tokens']:,}; state {one['state_bytes'] / 1e6:.2f} MB",
            flush=True,
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure one shape and print it; 1 where the shape needs a GPU and there is none."""
    given = _arguments(arguments)
    shape = SHAPES[given.shape]
    shape = replace(shape, device=given.device or shape.device)
    if not is_there(shape.device):
        print(f"{given.shape} needs a CUDA GPU, and this machine has none.", file=sys.stderr)
        return 1
    own = next(name for name, dtype in DTYPES.items() if dtype == shape.dtype)
    names = list(dict.fromkeys(given.dtype or [own]))
    if given.system:
        costs = systems(replace(shape, dtype=DTYPES[names[0]]), given)
        told = {"shape": given.shape, "systems": costs, "machine": machine(shape, given.threads)}
        print(json.dumps(told))
        return 0
    shapes = {name: replace(shape, dtype=DTYPES[name]) for name in names}
    found = measure(shapes, given.threads, given.rounds, growth=given.growth)
    for name, one in zip(names, found, strict=True):
        print(f"{name}\n{one.table()}\n", flush=True)
    result: dict[str, Any] = {
        "shape": given.shape,
        "rounds": given.rounds,
        "dtypes": {name: one.figures() for name, one in zip(names, found, strict=True)},
    }
    if len(names) > 1:
        result["times_as_fast"] = compared(names, found)
    print(json.dumps({**result, "machine": machine(shape, given.threads)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
