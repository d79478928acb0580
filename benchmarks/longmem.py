"""LongMem's gates: how much of each head's attention goes to the memory.

    python benchmarks/longmem.py runs/longmem/questions/final --model smollm2

Prints sigmoid(g) of every head of the memory layer, from 0 (closed) to 1. What closing them costs
is measured by ``memplus bench perplexity`` with ``gate=closed``. The last line is JSON.
"""

from __future__ import annotations

import json
import sys

from shapes import systems_parser

from memplus import MPlus
from memplus.systems.longmem.system import LongMemSystem
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

__all__ = ["main"]


def main() -> None:
    """Open the weights, and print their gates."""
    parser = systems_parser(__doc__)
    parser.set_defaults(system="longmem")
    parser.add_argument("weights", help="`final` folder of a training of LongMem")
    given = parser.parse_args()
    model = MPlus.from_pretrained(given.model, dtype=given.dtype, device=given.device).eval()
    (system,) = make_systems([f"{given.system}:weights={given.weights}"], Shared(lambda: model))
    assert isinstance(system, LongMemSystem)
    shares = system.mechanism.shares_of_gate
    print("| head | to the memory |\n|---|---|")
    for head, share in enumerate(shares):
        print(f"| {head} | {share:.3f} |")
    opened = sum(share > 0.5 for share in shares)
    print(f"{opened} of {len(shares)} give more than half of their attention to it.")
    print(json.dumps({"model": given.model, "gates": shares}))


if __name__ == "__main__":
    sys.exit(main())
