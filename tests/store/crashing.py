"""A process that dies while it writes, again and again; run by ``test_crash.py``.

Imports everything once, then forks a child per line of standard input. A child opens the memory,
goes on with the plan where the disk says it stands, tells after each operation that it was
acknowledged, and is killed: at the n-th change of the disk, at a named one, or after a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tests.store.fakes import SMALL, FakeHost, store_on

from memplus.errors import UnknownSourceError
from memplus.memory.state import Memory
from memplus.store import StoredMemory
from memplus.store.disk import Disk

HOST = FakeHost()


class Deadly(Disk):
    """Ends the process at a change of the disk, before or in the middle of it."""

    def __init__(self, point: str, number: int) -> None:
        self.point = point
        self.left = number

    def step(self, call: str, path: Path) -> None:
        kind = path.name.lstrip(".").partition("-")[0]
        if self.point in ("", f"{call} {kind}", call):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def plan(number: int) -> dict[str, Any]:
    """Operation ``number`` of the plan: the same whoever asks."""
    if number % 9 == 7:
        return {"forget": f"s{number % 3}"}
    if number % 13 == 11:
        return {"back": number - 3}
    count = (1, 2, 0, 7, 1, 3)[number % 6]
    chunks = [[1000 * number + 4 * i + j for j in range(4)] for i in range(count)]
    return {"chunks": chunks, "source": f"s{number % 4}", "tail": list(range(number % 3 + 1))}


def perform(memory: Memory, step: dict[str, Any], writes: list[int]) -> None:
    """Do one operation; ``writes`` are those of the states before, for going back."""
    if "forget" in step:
        with contextlib.suppress(UnknownSourceError):
            memory.forget(source=step["forget"])
    elif "back" in step:
        assert isinstance(memory, StoredMemory)
        memory.rollback(writes[step["back"]])
    else:
        HOST.write(memory, step["chunks"], step["source"], step["tail"])


def write_rows(memory: StoredMemory, rows: int, say: int) -> None:
    """Write every text of the plan whose label the memory lacks, as whoever keeps a list of texts
    that are to be written goes on after a crash."""
    for number in range(rows):
        if memory.has_label(f"row{number}"):
            continue
        step = plan(number)
        with memory.labelled(f"row{number}"):
            if "chunks" in step:
                perform(memory, step, [])
        os.write(say, b".")
    memory.close()


def child(order: dict[str, Any], say: int) -> None:
    """Go on until killed or done."""
    disk = Deadly(order["point"], order["number"])
    store = store_on(disk, order["dir"], limits=SMALL, durability=order["durability"], window=0.01)
    memory = store.open("alice", HOST, write=True)
    if "rows" in order:
        write_rows(memory, order["rows"], say)
        return
    for number in range(order["from"], order["to"]):
        perform(memory, order["plan"][number], order["writes"])
        os.write(say, b".")
        order["writes"].append(len(memory.writes))
    memory.close()


def main() -> None:
    """Serve orders."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        hear, say = os.pipe()
        started = time.monotonic()
        process = os.fork()
        if process == 0:
            code = 1
            try:
                child(order, say)
                code = 0
            finally:
                os._exit(code)
        os.close(say)
        if order["seconds"]:
            _, _, _ = select.select([], [], [], order["seconds"])
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        told = b""
        while piece := os.read(hear, 4096):
            told += piece
        os.close(hear)
        answer = {
            "acknowledged": len(told),
            "killed": os.WIFSIGNALED(status),
            "code": os.waitstatus_to_exitcode(status),
            "seconds": time.monotonic() - started,
            "heavy": "transformers" in sys.modules,
        }
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
