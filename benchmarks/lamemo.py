"""LaMemo and Transformer-XL from nothing, as the paper compares them: equal sizes, equal memory.

    python benchmarks/lamemo.py --texts BOOKS --steps 2000 --seeds 3

Both are the published model on bytes, with the same initial weights, batches and steps; one looks
ahead. BOOKS is read in order, every tenth text is held out. Printed is what the held-out bytes cost
in bits, read with the training's lengths, and the difference with its 95% interval: over pieces of
the text in one run, and over runs where there are several seeds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from intervals import interval
from shapes import add_device
from torch import Tensor

from memplus.data.corpus import read_texts
from memplus.systems.lamemo.layer_step import Blend
from memplus.systems.lamemo.published import PublishedLaMemo, PublishedSizes
from memplus.systems.lamemo.window import Window

__all__ = ["main"]

_HELD_OUT_EVERY = 10
_ROWS_HELD_OUT = 8
"""Held-out text is read in so many rows side by side."""
_PIECE = 16
"""Segments of held-out text that are one observation: neighbours are alike."""
_CLIP = 0.25


@dataclass(frozen=True)
class Job:
    """How a run is trained."""

    segment: int
    rows: int
    steps: int
    learning_rate: float


def streams(data: Tensor, rows: int) -> Tensor:
    """Bytes [n] as so many texts side by side, [rows, n / rows]."""
    length = len(data) // rows
    return data[: rows * length].view(rows, length)


def segments(data: Tensor, segment: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and targets [rows, segment], in order."""
    for start in range(0, data.shape[1] - segment, segment):
        yield data[:, start : start + segment], data[:, start + 1 : start + segment + 1]


def train(model: PublishedLaMemo, data: Tensor, job: Job) -> None:
    """Read on and on, one segment of gradients, as in the paper."""
    optimizer = torch.optim.Adam(model.parameters(), lr=job.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, job.steps)
    rows = streams(data, job.rows)
    done = 0
    while done < job.steps:
        window = model.empty(job.rows)
        for ids, targets in segments(rows, job.segment):
            passed = model(window, ids)
            window = passed.window
            model.losses(passed.hidden, targets).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
            optimizer.step()
            optimizer.zero_grad()
            cosine.step()
            done += 1
            if done == job.steps:
                return


@torch.no_grad()
def held_out(model: PublishedLaMemo, data: Tensor, segment: int) -> list[float]:
    """Bits per byte of pieces of held-out text; the first one, which warms up, is left out."""
    rows = streams(data, _ROWS_HELD_OUT)
    window: Window = model.empty(_ROWS_HELD_OUT)
    found = []
    for ids, targets in segments(rows, segment):
        passed = model(window, ids)
        window = passed.window
        found.append(model.losses(passed.hidden, targets).mean(dim=1) / math.log(2))
    losses = torch.stack(found, dim=1)
    pieces = losses.unfold(1, _PIECE, _PIECE).mean(dim=2)[:, 1:]
    return [float(one) for one in pieces.flatten()]


def compared(
    sizes: PublishedSizes, data: tuple[Tensor, Tensor], job: Job, seed: int
) -> dict[str, Any]:
    """Train and measure both with one seed."""
    torch.manual_seed(seed)
    ahead = PublishedLaMemo(sizes)
    blind = PublishedLaMemo(PublishedSizes(**{**vars(sizes), "blend": Blend(lookahead=False)}))
    blind.load_state_dict({n: w for n, w in ahead.state_dict().items() if n != "right"})
    bits, seconds = {}, {}
    for name, model in (("lamemo", ahead), ("transformer_xl", blind)):
        model.to(data[0].device)
        begun = time.perf_counter()
        train(model, data[0], job)
        seconds[name] = round(time.perf_counter() - begun, 1)
        bits[name] = held_out(model, data[1], job.segment)
    pairs = zip(bits["lamemo"], bits["transformer_xl"], strict=True)
    middle, half = interval([one - other for one, other in pairs])
    means = {name: round(fmean(found), 4) for name, found in bits.items()}
    print(f"seed {seed}: {means}, difference {middle:+.4f} +- {half:.4f} bits per byte", flush=True)
    return {"seed": seed, "bits": means, "difference": middle, "half": half, "seconds": seconds}


def read_data(path: Path, most: int, held: int) -> tuple[Tensor, Tensor]:
    """Bytes to train on and bytes held out."""
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for number, text in enumerate(read_texts([path])):
        parts[number % _HELD_OUT_EVERY == 0].append(text.encode())
    made = [
        torch.frombuffer(bytearray(b"\n\n".join(part)[:limit]), dtype=torch.uint8).long()
        for part, limit in zip(parts, (most, held), strict=True)
    ]
    return made[0], made[1]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--texts", type=Path, required=True, help="texts, as training reads them")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=16, help="texts side by side in a step")
    parser.add_argument("--segment", type=int, default=128, help="N, and M")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rate", type=float, default=2.5e-4)
    parser.add_argument("--bytes", type=int, default=50_000_000, help="most bytes to train on")
    parser.add_argument("--held", type=int, default=500_000, help="most bytes held out")
    add_device(parser)
    given = parser.parse_args()
    sizes = PublishedSizes(
        vocabulary=256, layers=given.layers, heads=4, width=given.width,
        head_width=given.width // 4, inner=4 * given.width, memory=given.segment,
    )  # fmt: skip
    job = Job(given.segment, given.rows, given.steps, given.rate)
    learned, held = read_data(given.texts, given.bytes, given.held)
    data = learned.to(given.device or "cpu"), held.to(given.device or "cpu")
    runs = [compared(sizes, data, job, seed) for seed in range(given.seeds)]
    middle, half = interval([one["difference"] for one in runs])
    if len(runs) > 1:
        print(f"over {len(runs)} seeds: {middle:+.4f} +- {half:.4f} bits per byte")
    print(json.dumps({"job": asdict(job), "runs": runs, "difference": middle}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
