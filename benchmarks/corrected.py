"""What keeps a system from saying the later value of what was corrected.

    python benchmarks/corrected.py --system mplus --distances 0,1k,4k --texts BOOK

The held-out corrections are told in running text three times over: each with its earlier version
some items before it, the later version without the earlier one, and the later version alone in a
memory, asked for at once. The first falls short of the second by what the earlier version costs,
the second of the third by distance, and the third of all by reading: what is not said there is not
understood, and no memory can help it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from intervals import shown_share
from shapes import systems_parser

from memplus import MPlus
from memplus.bench import make_inputs
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.tasks.held_out import CORRECTION, statement_items
from memplus.evaluation.tasks.retention import parse_distances
from memplus.evaluation.tasks.told import TOLD, Item, Telling, alone_plans, told_plan
from memplus.systems.protocol import System
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

__all__ = ["main"]


def main() -> None:
    """Ask, and print what was right."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, dtype=given.dtype, device=given.device).eval()
    shared = Shared(lambda: model)
    distances = parse_distances(given.distances, "distances")
    both = [one for one in statement_items(distances, distances) if one.kind == CORRECTION]
    both = both[: given.items]
    later = [replace(one, earlier="") for one in both]
    inputs = make_inputs(shared, Path("data"), given.texts)
    texts = inputs.texts(max(distances) + 20_000)
    ways: dict[str, list[Plan]] = {
        "after the earlier one": [_stream(texts, inputs.chunk, both, given.seed)],
        "without it": [_stream(texts, inputs.chunk, later, given.seed)],
        "alone": alone_plans(later, shared.reference, given.seed),
    }
    rows: list[dict[str, Any]] = []
    print("| system | later version told | tokens since | later value | earlier value | n |")
    print("|---|---|---|---|---|---|")
    for system in make_systems(given.system.split(","), shared):
        for way, plans in ways.items():
            for row in _asked(system, plans):
                rows.append({"system": system.name, "told": way, **row})
                cells = [system.title, way, str(row["tokens"])]
                cells += [
                    shown_share(row["right"], row["asked"]),
                    shown_share(row["older"], row["asked"]),
                ]
                print(f"| {' | '.join(cells)} | {row['asked']} |", flush=True)
    print(json.dumps({"model": given.model, "rows": rows}))


def _stream(texts: Any, chunk: int, items: Sequence[Item], seed: int) -> Plan:
    return told_plan(texts, chunk, Telling(tuple(items)), seed)


def _asked(system: System, plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """What was said at each distance."""
    kept = InMemory()
    run_plans([system], plans, TOLD, {system.name: kept}, lambda *_: None)
    lines = [line for line in kept.lines if line["key"] != "end"]
    return [
        {
            "tokens": tokens,
            "asked": len(at),
            "right": sum(bool(line["right"]) for line in at),
            "older": sum(bool(line["outdated"]) for line in at),
        }
        for tokens in sorted({line["wanted"] for line in lines})
        for at in [[line for line in lines if line["wanted"] == tokens]]
    ]


def _arguments() -> argparse.Namespace:
    parser = systems_parser(__doc__)
    parser.add_argument("--distances", default="0,1k,4k", help="tokens since the later version")
    parser.add_argument("--items", type=int, help="corrections; all that are held out by default")
    parser.add_argument("--texts", type=Path, nargs="+", help="prose; Python's documentation else")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
