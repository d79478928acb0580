"""kill -9 at any moment leaves every acknowledged operation whole, and no half one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.store.crashing import HOST, perform, plan
from tests.store.fakes import SMALL, contents

from memplus.memory.state import Memory
from memplus.store import MemoryStore

ROOT = Path(__file__).parents[2]
POINTS = [
    *("write log", "fsync log", "create log", "open log", "truncate log"),
    *("journal write journal", "journal commit journal", "create journal"),
    *("create manifest", "write manifest", "fsync manifest", "rename manifest"),
    *("create segment", "write segment", "fsync segment", "create snapshot", "write snapshot"),
    *("fsync snapshot", "unlink log", "unlink segment", "unlink journal", "unlink snapshot"),
]


class Server:
    """The process that forks children."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.crashing"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def run(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        usual = {"point": "", "number": 0, "seconds": 0, "durability": "full"}
        self.process.stdin.write(json.dumps(usual | order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    with made.process:
        yield made


class Oracle:
    """What the memory is after each operation, without any store."""

    def __init__(self) -> None:
        self.memories: list[Memory] = [HOST.new_memory(seed=9)]
        self.plan: list[dict[str, Any]] = []

    def upto(self, number: int) -> None:
        while len(self.plan) < number:
            step = plan(len(self.plan))
            # Nothing before a request to forget is kept, and nothing to go back to.
            floor = max((i + 1 for i, one in enumerate(self.plan) if "forget" in one), default=0)
            if step.get("back", floor) < floor:
                step = {"chunks": [[1, 2, 3, 4]], "source": "s", "tail": []}
            memory = self.memories[-1].fork()
            if "back" in step:
                target = len(self.memories[step["back"]].writes)
                alike = [m for m in self.memories[floor:] if len(m.writes) == target]
                memory = alike[-1].fork()
            elif step.get("forget") not in (None, *(r.source for r in memory.writes)):
                pass
            else:
                perform(memory, step, [])
            self.plan.append(step)
            self.memories.append(memory)

    @property
    def writes(self) -> list[int]:
        return [len(memory.writes) for memory in self.memories]


def drive(server: Server, folder: Path, orders: list[dict[str, Any]]) -> list[bool]:
    """Kill children one after the other on one store; returns which were really killed."""
    store = MemoryStore(folder, limits=SMALL)
    store.create("alice", HOST, seed=9).close()
    oracle, done = Oracle(), 0
    killed: list[bool] = []
    for order in orders:
        if done > 60:  # begin anew before it takes long
            store.delete("alice")
            store.create("alice", HOST, seed=9).close()
            done = 0
        oracle.upto(done + 24)
        span = {"from": done, "to": done + 24, "writes": oracle.writes[: done + 1]}
        told = server.run(dir=str(folder), plan=oracle.plan, **span, **order)
        assert told["killed"] or told["code"] == 0, told
        assert not told["heavy"]
        killed.append(told["killed"])
        with store.open("alice", HOST) as memory:
            now = contents(memory)
            texts = memory.texts()
        first = done + told["acknowledged"]
        states = [contents(one) for one in oracle.memories[first : first + 2]]
        assert now in states, (order, done, told)
        assert texts.keys() == {record.id for record in memory.writes if record.tokens}
        # Two operations in a row may end alike: going on from the later one is the same.
        done = first + (len(states) - 1 - states[::-1].index(now))
    store.verify("alice")
    return killed


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(server: Server, tmp_path: Path, point: str) -> None:
    orders: list[dict[str, Any]] = []
    for number in (2, 1, 3):  # of commits; the last, unfinished one leaves a log that is too long
        orders += [{"point": "fsync manifest", "number": number}, {"point": point, "number": 1}]
    assert any(drive(server, tmp_path / "s", orders)[1::2])


@pytest.mark.long
@pytest.mark.parametrize("kills", [60, pytest.param(170, marks=pytest.mark.slow)])
def test_killed_at_any_change_of_the_disk(server: Server, tmp_path: Path, kills: int) -> None:
    draw = random.Random(kills)
    orders = [{"number": draw.randint(1, 60)} for _ in range(kills)]
    assert all(drive(server, tmp_path / "s", orders))


@pytest.mark.long
@pytest.mark.parametrize("kills", [30, pytest.param(90, marks=pytest.mark.slow)])
def test_killed_at_any_time(server: Server, tmp_path: Path, kills: int) -> None:
    draw = random.Random(kills)
    orders = [{"seconds": draw.uniform(0.004, 0.09)} for _ in range(kills)]
    assert sum(drive(server, tmp_path / "s", orders)) >= len(orders) // 2
