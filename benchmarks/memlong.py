"""MemLong's claims: the right chunk is found, and what is asked for again and again stays.

    python benchmarks/memlong.py recall --data DATA --lengths 0,4k,16k --items 40 --out recall.jsonl
    python benchmarks/memlong.py eviction --data DATA --seeds 4 --out eviction.jsonl

``recall`` tells what ``memplus bench retention`` tells of SQuAD, Natural Questions and statements,
and looks which chunks each question retrieves, at once and after so many tokens: how often one that
holds words of the answer is among the best 1, 4 and 8. Beside it stands the system ``bm25``, whose
passages are as long; each system is compared with the last one named, question by question.

``eviction`` tells passages far apart in running text that is longer than the bank. After every
segment some of those told so far are asked for, and what a question retrieves is counted. Which
ones are asked for is drawn by Zipf's law, so that a few come again and again, or of all alike,
which is the control; in the end each passage is asked for once more. Of every question: is the
chunk that answers it still there, and is it among those retrieved? The same text and questions are
put to a bank that drops by counters and to one that drops by age.

Shares have Wilson's 95% interval, differences Newcombe's for pairs and McNemar's exact test. On the
way one passage is asked for many times: there the difference has an interval for groups, and the
test counts the passages that are found more often by the one or by the other. With ``--out`` a run
that was stopped goes on where it was. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from asked_again import MEASURES, AskedAgain, Draw, Passage, passages_of
from intervals import Pairs, interval_of_groups, shown_share
from kept import Kept
from retrieved import BEST, Line, among, told_lines
from shapes import add_device

from memplus import MPlus
from memplus.bench import make_inputs
from memplus.data.passages import read_nq, read_squad
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.held_out import HeldOut, passage_items, statement_items
from memplus.evaluation.tasks.retention import parse_distances
from memplus.evaluation.tasks.retention_task import NQ, SQUAD, RetentionTask
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

__all__ = ["main"]

_EVERY = "all"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one of the claims, and print it."""
    given = _arguments(arguments)
    torch.set_num_threads(given.threads)
    model = MPlus.from_pretrained(given.model, dtype=given.dtype, device=given.device).eval()
    shared = Shared(lambda: model)
    inputs = make_inputs(shared, given.data, given.texts)
    kept = Kept(given.out, f"memlong {given.claim}")
    measure = {"recall": _recall, "eviction": _eviction}[given.claim]
    found = measure(given, shared, inputs, kept)
    print(json.dumps({"model": given.model, "claim": given.claim, **found}))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    claims = parser.add_subparsers(dest="claim", required=True)
    recall, eviction = claims.add_parser("recall"), claims.add_parser("eviction")
    for one in (recall, eviction):
        one.add_argument("--model", default="smollm2")
        one.add_argument("--dtype", default="float32")
        add_device(one)
        one.add_argument("--data", type=Path, default=Path("data"), help="folder of SQuAD and NQ")
        one.add_argument("--kinds", default="squad,nq,statements", help="what is told, by commas")
        one.add_argument("--texts", type=Path, action="append", help="prose to tell them in")
        one.add_argument("--out", type=Path, help="file of what was found; is gone on with")
        one.add_argument("--seeds", type=int, default=1, help="streams")
        one.add_argument("--threads", type=int, default=1)
    named = "memlong,memlong:embedder=static,memlong:embedder=bm25,bm25"
    recall.add_argument("--system", default=named, help="MemLong's, bm25, embeddings, by commas")
    recall.add_argument("--lengths", default="0,4k,16k", help="tokens between telling and asking")
    recall.add_argument("--items", type=int, default=40, help="of each kind that are told")
    eviction.add_argument("--system", default="memlong", help="with other options than these two")
    eviction.add_argument("--bank", type=int, default=8192, help="tokens that it holds")
    eviction.add_argument("--times", type=int, default=4, help="so many banks of text are told")
    eviction.add_argument("--items", type=int, default=12, help="of each kind that are told")
    eviction.add_argument("--asked", type=int, default=4, help="questions after each segment")
    eviction.add_argument("--often", type=int, default=5, help="from so many times on it is often")
    return parser.parse_args(arguments)


def _difference(pairs: Sequence[tuple[bool, bool]]) -> Line:
    """How far two are apart, as JSON values and as cells of a table."""
    found = Pairs.of(pairs)
    low, high = found.interval
    one, other = found.shares
    return {
        "asked": found.asked,
        "right": [found.both + found.first, found.both + found.second],
        "alone": [found.first, found.second],
        "difference": one - other,
        "low": low,
        "high": high,
        "chance": found.chance,
    }


def _cells(row: Line) -> str:
    shares = " | ".join(shown_share(right, row["asked"]) for right in row["right"])
    alone = " and ".join(map(str, row["alone"]))
    points = f"{100 * row['low']:+.0f} to {100 * row['high']:+.0f}"
    shown = f"{100 * row['difference']:+.0f} ({points})"
    return f"{row['asked']} | {shares} | {alone} | {shown} | {row['chance']:.3g}"


# The right chunk is found ------------------------------------------------------------------------


def _recall(
    given: argparse.Namespace, shared: Shared, inputs: Inputs, kept: Kept
) -> dict[str, Any]:
    systems = make_systems(given.system.split(","), shared)
    task = RetentionTask(
        lengths=parse_distances(given.lengths, "lengths"),
        items=given.items,
        seeds=given.seeds,
        kinds=tuple(given.kinds.split(",")),
    )
    chunk = math.lcm(*(one.chunk_tokens for one in systems))
    plans = task.plans(replace(inputs, chunk=chunk))
    lines = {
        one.name: [line for plan in plans for line in told_lines(kept, one, plan)]
        for one in systems
    }
    rows = [row for name, own in lines.items() for row in _recalled(name, own)]
    print("| system | kind | tokens since | n | parts | there | top 1 | top 4 | top 8 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        shares = " | ".join(shown_share(right, row["asked"]) for right in row["right"])
        of = f"{row['system']} | {row['kind']} | {row['wanted']:,} | {row['asked']}"
        print(f"| {of} | {row['parts']:.0f} | {shares} |")
    *others, last = lines
    compared = [row for name in others for row in _compared(name, lines[name], lines[last])]
    if compared:
        names = f"system | tokens since | best | n | right | {last}"
        print(f"\n| {names} | by one alone | difference | chance |")
        print("|---|---|---|---|---|---|---|---|---|")
    for row in compared:
        print(f"| {row['system']} | {row['wanted']:,} | {row['best']} | {_cells(row)} |")
    return {"rows": rows, "against": last, "compared": compared}


def _recalled(name: str, lines: Sequence[Line]) -> Iterator[Line]:
    """A row for each kind at each distance, and one of all kinds."""
    for kind, wanted, group in _groups(lines):
        right = [sum(line["there"] for line in group)]
        right += [sum(among(line, best) for line in group) for best in BEST]
        own = {"system": name, "kind": kind, "wanted": wanted, "asked": len(group)}
        yield {**own, "parts": sum(line["parts"] for line in group) / len(group), "right": right}


def _groups(lines: Sequence[Line]) -> Iterator[tuple[str, int, list[Line]]]:
    kinds, lengths = ({line[field] for line in lines} for field in ("kind", "wanted"))
    for kind in (*sorted(kinds), _EVERY):
        for wanted in sorted(lengths):
            at = [line for line in lines if line["wanted"] == wanted]
            group = [line for line in at if kind in (_EVERY, line["kind"])]
            if group:
                yield kind, wanted, group


def _compared(name: str, lines: Sequence[Line], others: Sequence[Line]) -> Iterator[Line]:
    """All kinds together, at each distance."""
    known = {(line["seed"], line["key"]): line for line in others}
    for kind, wanted, group in _groups(lines):
        for best in BEST if kind == _EVERY else ():
            pairs = [
                (among(line, best), among(known[line["seed"], line["key"]], best)) for line in group
            ]
            yield {"system": name, "wanted": wanted, "best": best, **_difference(pairs)}


# What is asked for again and again stays ---------------------------------------------------------


def _eviction(
    given: argparse.Namespace, shared: Shared, inputs: Inputs, kept: Kept
) -> dict[str, Any]:
    specs = [f"{given.system}:bank={given.bank}:eviction={one}" for one in ("counters", "fifo")]
    systems = make_systems(specs, shared)
    told = given.times * given.bank
    texts, pool = inputs.texts(told + 20_000), _pool(inputs, given.kinds.split(","))
    rows = []
    print("| drawn | asked | measure | n | counters | fifo | by one alone | difference | chance |")
    print("|---|---|---|---|---|---|---|---|---|")
    for zipf in (True, False):
        name = "zipf" if zipf else "uniform"
        draw = Draw(told, systems[0].chunk_tokens, given.asked, zipf)
        found: list[Passage] = []
        for seed in range(given.seeds):
            items = pool.deal(given.items, seed).items
            plan = AskedAgain(texts, items, draw, seed).plan()
            found += passages_of(*(told_lines(kept, one, plan, count=True) for one in systems))
        for row in (*_on_the_way(found), *_at_the_end(found, given.often)):
            rows.append({"drawn": name, **row})
            print(f"| {name} | {row['when']} | {row['measure']} | {_cells(row)} |", flush=True)
    return {"rows": rows}


def _pool(inputs: Inputs, kinds: Sequence[str]) -> HeldOut:
    """What is told: no corrections, of which a later one makes an earlier one wrong."""
    at = (0,)  # a distance, which this benchmark does not look at
    items = [*statement_items(at, ())] if "statements" in kinds else []
    for kind, title, read, need in (
        ("squad", "SQuAD", read_squad, SQUAD),
        ("nq", "NQ", read_nq, NQ),
    ):
        if kind in kinds:
            items += passage_items(title, read(inputs.path(need), "held_out"), at)
    return HeldOut(tuple(items))


def _on_the_way(passages: Sequence[Passage]) -> Iterator[Line]:
    """All questions. Those of one passage are alike: intervals and test are of passages."""
    asked = [one.asked for one in passages]
    for measure in MEASURES:
        counts = [one.on_the_way[measure] for one in passages]
        sums = [first - second for first, second in counts]
        middle, half = interval_of_groups(sums, asked)
        split = Pairs(0, sum(one > 0 for one in sums), sum(one < 0 for one in sums), 0)
        yield {
            "when": "on the way",
            "measure": measure,
            "asked": sum(asked),
            "right": [sum(side) for side in zip(*counts, strict=True)],
            "alone": [split.first, split.second],
            "difference": middle,
            "low": middle - half,
            "high": middle + half,
            "chance": split.chance,
        }


def _at_the_end(passages: Sequence[Passage], often: int) -> Iterator[Line]:
    """Every passage once: all, those asked for often before, and the others."""
    groups = {
        "at the end": list(passages),
        f"at the end, {often} times or more before": [o for o in passages if o.asked >= often],
        "at the end, less often before": [one for one in passages if one.asked < often],
    }
    for name, group in groups.items():
        for measure in MEASURES if group else ():
            pairs = [one.at_the_end[measure] for one in group]
            yield {"when": name, "measure": measure, **_difference(pairs)}


if __name__ == "__main__":
    sys.exit(main())
