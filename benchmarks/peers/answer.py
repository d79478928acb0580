"""Answers from texts that a peer retrieved: they stand in the prompt, and our reader reads them.

    python benchmarks/peers/answer.py runs/peers/plan.jsonl runs/peers/mem0.jsonl

A search gives texts and no answers. Here the model of the plan gets them before the question, as
the system ``full_context`` reads a text, so that a search can be compared with what answers by
itself.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from lines import Writer, read_plan, read_results

import memplus
from memplus import MPlus
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared


def main() -> None:
    """Answer, and say where the results are."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    plan = read_plan(given.plan)
    found = read_results(given.results, plan)
    name = given.model or plan.header["model"]
    model = MPlus.from_pretrained(name, dtype=given.dtype).eval()
    (system,) = make_systems([given.reader], Shared(lambda: model))
    out = given.out or given.results.with_name(f"{given.results.stem}-answered.jsonl")
    writer = Writer(
        out,
        plan,
        system=f"{found.header['system']}, read by {name}",
        by=f"{found.header['by']}; memplus {memplus.__version__}",
        settings={**found.header["settings"], "reader": dict(system.identity)},
    )
    for one in plan.questions:
        line = found.answers.get(one["key"], {})
        if "retrieved" not in line:
            continue
        started = time.perf_counter()
        session = system.open(plan.header["seed"])
        text = "\n\n".join(each.strip() for each in line["retrieved"])
        if text:
            session.write(text)
        (reply,) = session.ask([one["question"]], max_new_tokens=given.tokens)
        seconds = line["seconds"] + time.perf_counter() - started
        writer.asked(one["key"], seconds, said=reply.generated or reply.text)
    for more in (found.end, found.killed):
        if more is not None:
            writer.add(more)
    print(out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("results", type=Path, help="with texts that were retrieved")
    parser.add_argument("--reader", default="full_context", help="a system of the registry")
    parser.add_argument("--model", help="the one whose tokens the plan counts by default")
    parser.add_argument("--dtype", help="what suits the device by default")
    parser.add_argument("--tokens", type=int, default=24, help="most tokens of an answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
