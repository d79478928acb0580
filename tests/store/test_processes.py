"""Several processes at one memory: readers see whole states, writers take turns."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.store.crashing import HOST
from tests.store.fakes import SMALL, contents, store_on
from tests.store.test_crash import Oracle, Server
from tests.warm import python

from memplus.errors import MemoryBusyError, StorageError
from memplus.store import MemoryStore, database
from memplus.store.disk import Disk

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from tests.store.fakes import FakeHost
from memplus.store import MemoryStore
memory = MemoryStore(sys.argv[1]).open("alice", FakeHost(), write=sys.argv[2] == "True")
print("held", flush=True)
sys.stdin.readline()
memory.close()
"""


@pytest.mark.long
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


class KeepsJournals(Disk):
    """Removes no journal, as where it is killed then; its companions go."""

    def step(self, call: str, path: Path) -> None:
        if call == "unlink" and path.name.startswith("journal") and path.name.count("-") == 1:
            raise OSError(errno.EIO, "killed here", str(path))


@pytest.mark.parametrize("change", ["rollback", "forget"])
@pytest.mark.parametrize("disk", [Disk, KeepsJournals])
def test_a_journal_that_goes_while_a_reader_opens_it_is_not_read_without_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, disk: type[Disk]
) -> None:
    store = store_on(disk(), tmp_path)
    writer = store.create("alice", HOST, seed=9)
    for source in ("a", "b", "c"):
        HOST.write(writer, [[1, 2, 3, 4]], source)
    changes = {
        "rollback": lambda: writer.rollback(2),
        "forget": lambda: writer.forget(source="c"),
    }
    connected = database.connect

    def connect(path: Path, options: str) -> sqlite3.Connection:
        connection = connected(path, options)  # the journal is open, its log not yet
        if options == "mode=ro" and (now := changes.pop(change, None)):
            with contextlib.suppress(StorageError):
                now()
        return connection

    def listed(path: Path) -> list[os.DirEntry[str]]:
        return sorted(scandir(path), key=lambda entry: entry.name, reverse=True)

    # While another process reads, what was written stays in the log when the writer closes it.
    with holding(tmp_path, write=False) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        scandir = os.scandir
        monkeypatch.setattr(database, "connect", connect)
        monkeypatch.setattr("memplus.store.folder.os.scandir", listed)
        with store.open("alice", HOST) as memory:
            told = {text.source for text in memory.texts().values()}
            assert told == {record.source for record in memory.writes if record.tokens}
        assert change not in changes
        other.communicate("")


def holding(path: Path, *, write: bool = True) -> subprocess.Popen[str]:
    """A process that opens the memory, says "held", and closes with its input."""
    return subprocess.Popen(
        [*python(), "-c", HOLDER, str(path), str(write)],
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
    store.open("alice", HOST, write=True, wait=60).close()
