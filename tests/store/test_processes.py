"""Several processes at one memory: readers see whole states, writers take turns."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.store.crashing import HOST
from tests.store.fakes import SMALL, contents
from tests.store.test_crash import Oracle, Server

from memplus.errors import MemoryBusyError
from memplus.store import MemoryStore

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from tests.store.fakes import FakeHost
from memplus.store import MemoryStore
memory = MemoryStore(sys.argv[1]).open("alice", FakeHost(), write=True)
print("held", flush=True)
sys.stdin.readline()
memory.close()
"""


def test_a_reader_sees_whole_states_in_order_while_another_process_writes(tmp_path: Path) -> None:
    store, oracle = MemoryStore(tmp_path / "s", limits=SMALL), Oracle()
    store.create("alice", HOST, seed=9).close()
    oracle.upto(26)
    states = [contents(memory) for memory in oracle.memories]
    server = Server()
    answer: dict[str, Any] = {}
    order = {"from": 0, "to": 26, "writes": oracle.writes[:1], "plan": oracle.plan}
    writer = threading.Thread(
        target=lambda: answer.update(server.run(dir=str(tmp_path / "s"), **order))
    )
    with server.process:
        writer.start()
        at, seen = 0, set()
        while writer.is_alive() or not seen:
            with store.open("alice", HOST) as memory:
                now = contents(memory)
                later = next(i for i in range(at, len(states)) if states[i] == now)
                told = {r.id for r in memory.writes if r.tokens}
                assert memory.texts().keys() == told
            at = later
            seen.add(at)
        writer.join()
    assert answer["code"] == 0
    with store.open("alice", HOST) as memory:
        assert contents(memory) == states[-1]


def holding(path: Path) -> subprocess.Popen[str]:
    """A process that opens the memory for writing, says "held", and closes with its input."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def test_a_second_writer_of_another_process_is_refused_or_waits(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path)
    store.create("alice", HOST).close()
    holder = holding(tmp_path)
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MemoryBusyError):
            store.open("alice", HOST, write=True, wait=0.05)
        with pytest.raises(MemoryBusyError):
            store.delete("alice")
        store.open("alice", HOST).close()
        threading.Timer(0.2, lambda: holder.stdin and holder.stdin.close()).start()
        store.open("alice", HOST, write=True, wait=60).close()
    # The lock of a process that was killed is free.
    killed = holding(tmp_path)
    with killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    store.open("alice", HOST, write=True).close()
