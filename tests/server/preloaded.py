"""``memplus serve`` in processes that start in a moment; run by tests that end them.

Imports everything once, then forks a server for each line of standard input. Says its process id,
and once it has ended its exit code; the next line is read then. ``Preloader`` is the tests' end.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx
import torch
from tests.warm import python

from memplus.cli.main import app
from memplus.cli.opening import load_model

PATIENCE = 60.0


class Preloader:
    """The process that servers are forked from, one at a time."""

    def __enter__(self) -> Self:
        command = [*python(), "-m", "tests.server.preloaded"]
        folder = Path(__file__).parents[2]
        environment = os.environ | {"PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.said() == "ready"
        return self

    def __exit__(self, *details: object) -> None:
        with self._process:  # closes what was open and waits
            pass

    def say(self, line: str) -> None:
        """Give it an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def said(self) -> str:
        """Its next line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Preloaded:
    """Servers of one store at one address, one after the other.

    Args:
        preloader: forks them.
        store: its directory.
        flags: more of ``memplus serve``.
    """

    def __init__(self, preloader: Preloader, store: Path, *flags: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = store.with_name(f"{store.name}.log")
        order = {"flags": ["--store", str(store), "--port", str(self.port), *flags]}
        self._order = json.dumps(order | {"log": str(self.log)})
        self._preloader = preloader
        self.pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        if self.pid:
            self.end(signal.SIGKILL)

    def start(self) -> None:
        """Fork a server; it is not ready yet."""
        self._preloader.say(self._order)
        self.pid = int(self._preloader.said())

    def until_ready(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.01)
        raise TimeoutError(self.log.read_text()[-2000:])

    def end(self, *signals: int) -> int:
        """Send signals and wait for its end; the exit code."""
        for place, one in enumerate(signals):
            time.sleep(0.3 if place else 0)  # two at once would be one
            os.kill(self.pid, one)
        code, self.pid = int(self._preloader.said()), 0
        return code


def serve(order: dict[str, str]) -> None:
    """What the command line does; what it prints goes to a file."""
    with Path(order["log"]).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    app(["serve", "--model", "nano", *order["flags"]])


def main() -> None:
    """Serve orders."""
    torch.set_num_threads(1)
    load_model("nano", device=None, dtype=None)  # for its modules; each server loads its own
    import memplus.server.running
    import memplus.server.services  # noqa: F401

    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = 70
            try:
                serve(json.loads(line))
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(process, flush=True)  # noqa: T201
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
