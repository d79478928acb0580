"""How the state of every system grows with the text that it was told: a table and a picture.

    python benchmarks/growth.py --model smollm2 --tokens 16384 --out docs/growth.png

The text is Python's own documentation, or ``--texts``. After 512 tokens, and after twice as many
each time, a question is put, so that what a system computes once and keeps is counted too, and the
state is measured: ``nbytes``, which is what a saved session takes. A system that the model cannot
serve, or that has no weights yet, is left out and named. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib.figure import Figure
from shapes import add_device

from memplus import MPlus
from memplus.bench import servable
from memplus.data.corpus import read_texts
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.systems.protocol import System
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

__all__ = ["main", "sizes"]

_FIRST = 512
_QUESTION = "What is it about?"
_CHARACTERS = 12
"""Of a token, at most on average: more of the text is not tokenised."""


def main() -> None:
    """Measure, print and draw."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, dtype=given.dtype, device=given.device).eval()
    shared = Shared(lambda: model)
    names, reasons = servable(shared)
    if given.systems:
        names, reasons = given.systems.split(","), {}
    for name, reason in reasons.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)
    steps = _steps(given.tokens)
    text = "\n".join(read_texts(given.texts)) if given.texts else language_documentation()
    pieces = _pieces(shared, text, steps)
    found: dict[str, list[int]] = {}
    print("| system | " + " | ".join(f"{step:,}" for step in steps) + " |")
    print("|---" * (len(steps) + 1) + "|")
    for system in make_systems(names, shared):
        found[system.title] = sizes(system, pieces)
        row = " | ".join(f"{size / 1e6:.3f}" for size in found[system.title])
        print(f"| {system.title} | {row} |", flush=True)
    if given.out is not None:
        _draw(steps, found, given.out)
    print(json.dumps({"model": given.model, "tokens": steps, "bytes": found}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--dtype", default="float32")
    add_device(parser)
    parser.add_argument("--systems", help="all that the model can serve by default")
    parser.add_argument("--tokens", type=int, default=4096, help="at the last step")
    parser.add_argument("--texts", type=Path, nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="the picture")
    return parser.parse_args()


def _steps(tokens: int) -> list[int]:
    steps = [_FIRST]
    while steps[-1] * 2 <= tokens:
        steps.append(steps[-1] * 2)
    return steps


def _pieces(shared: Shared, text: str, steps: Sequence[int]) -> list[list[str]]:
    """What is told before each step: pieces of so many tokens in all.

    Raises:
        SystemExit: the text is too short.
    """
    part = text[: _CHARACTERS * steps[-1]]
    (ends,) = shared.reference([part])
    if len(ends) < steps[-1]:
        sys.exit(f"The text has {len(ends)} tokens and {steps[-1]} are told: give more --texts.")
    places = [0, *(ends[step - 1] for step in steps)]
    return [[part[start:end]] for start, end in pairwise(places)]


def sizes(system: System, pieces: Sequence[Sequence[str]]) -> list[int]:
    """Bytes of the state after each of some parts of a text.

    Args:
        system: a session of it is opened.
        pieces: of every part.
    """
    session = system.open(0)
    found = []
    for part in pieces:
        session.write(part, "text")
        session.ask([_QUESTION], max_new_tokens=1)
        found.append(session.nbytes)
    return found


def _draw(steps: Sequence[int], found: dict[str, list[int]], path: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    drawn = {title: values for title, values in found.items() if any(values)}
    for index, (title, values) in enumerate(drawn.items()):
        # Seven markers beside ten colours: no two of seventy lines look alike.
        axes.plot(steps, values, marker="os^DvpX"[index % 7], label=title)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens told")
    axes.set_ylabel("bytes of the state")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
