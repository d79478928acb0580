"""Our own systems on the same plan, with the same lines as result.

    python benchmarks/peers/run_memplus.py runs/peers/plan.jsonl --systems mplus,nothing

Every system of the registry that ``memplus bench`` knows. ``kill -9`` is tried on a memory in a
store, for ``mplus``; the other systems are sessions in memory, saved where somebody asks for it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import torch
from lines import Plan, Writer, kill_during_writes, read_plan

import memplus
from memplus import MemoryStore, MPlus
from memplus.systems.protocol import System
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

NAME = "plan"
AFTER = 20
"""Writes that end before the process is killed, fewer where there are fewer."""
IN_A_STORE = "mplus"


def main() -> None:
    """Run one system after the other and say where the results are."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    plan = read_plan(given.plan)
    name = given.model or plan.header["model"]
    model = MPlus.from_pretrained(name, dtype=given.dtype).eval()
    if given.child_writes:
        _write_to_store(model, plan, given.child_writes)
        return
    shared = Shared(lambda: model)
    for system in make_systems(given.systems.split(","), shared):
        out = given.out / f"memplus-{re.sub(r'[^A-Za-z0-9_.=-]+', '-', system.name)}.jsonl"
        settings = {"seed": plan.header["seed"], **system.identity}
        by = f"memplus {memplus.__version__}, {name}"
        writer = Writer(out, plan, system=system.name, by=by, settings=settings)
        each = told_and_asked(system, plan, writer, given.tokens)
        if system.name == IN_A_STORE:
            _killed(given, model, plan, each, writer)
        print(out, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("--systems", default="mplus,full_context,nothing")
    parser.add_argument("--model", help="the one whose tokens the plan counts by default")
    parser.add_argument("--dtype", help="what suits the device by default")
    parser.add_argument("--tokens", type=int, default=24, help="most tokens of an answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), help="a folder")
    parser.add_argument("--child-writes", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def told_and_asked(system: System, plan: Plan, writer: Writer, longest: int) -> float:
    """Write and ask all of the plan.

    Returns:
        Seconds of a write.
    """
    session = system.open(plan.header["seed"])
    writes, seconds = 0, 0.0
    for pieces, questions in plan.steps:
        for piece in pieces:
            started = time.perf_counter()
            session.write(piece, "text")
            seconds += time.perf_counter() - started
            writes += 1
        for one in questions:
            started = time.perf_counter()
            (reply,) = session.ask([one["question"]], max_new_tokens=longest)
            said = reply.generated or reply.text
            writer.asked(one["key"], time.perf_counter() - started, said=said)
    tokens = plan.header["tokens"]
    writer.end(writes=writes, tokens=tokens, write_seconds=seconds, nbytes=session.nbytes)
    return seconds / writes


def _write_to_store(model: MPlus, plan: Plan, folder: Path) -> None:
    """Write every piece, and say so once it is on the disk."""
    with MemoryStore(folder, durability="full").create(NAME, model) as memory:
        for number, piece in enumerate(plan.pieces, start=1):
            model.write(memory, piece, source="text")
            print(number, flush=True)


def _killed(
    given: argparse.Namespace, model: MPlus, plan: Plan, each: float, writer: Writer
) -> None:
    """Pieces whose tokens are all there count as left, tokens of a piece beyond them as torn."""
    pieces = plan.pieces
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "store"
        options = ["--threads", str(given.threads), "--child-writes", str(folder)]
        for name in ("model", "dtype"):
            options += [f"--{name}", getattr(given, name)] if getattr(given, name) else []
        command = [sys.executable, __file__, str(given.plan), *options]
        done = kill_during_writes(command, min(AFTER, len(pieces) - 1), each / 2)
        with MemoryStore(folder).open(NAME, model) as memory:
            held = memory.tokens + len(memory.tail)
    left = 0
    for piece in pieces:
        count = len(model.encode(piece))
        if count > held:
            break
        held, left = held - count, left + 1
    writer.killed(done, left, int(held > 0))


if __name__ == "__main__":
    main()
