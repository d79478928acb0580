"""A server on a Ray of this machine, as processes of its own; none of them outlives the block."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from memplus.store import MemoryStore

PATIENCE = 300.0
_PROCESS = "ray::ServeReplica:memplus:"
_SCRIPT = """
import json, sys
from memplus.server.ray.deployment import deployed_from
from memplus.server.ray.running import run
run(deployed_from(json.loads(sys.argv[1])), lambda url: print(url, flush=True))
"""


class Cluster:
    """A running server.

    Attributes:
        url: where it listens.
        store: the memories' directory.
    """

    def __init__(self, url: str, store: Path, driver: psutil.Process) -> None:
        self.url = url
        self.store = store
        self._driver = driver

    def client(self, key: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120)

    def replicas(self) -> dict[int, psutil.Process]:
        """The processes with a model, by their ids."""
        return self._processes("replica")

    def process(self, name: str) -> psutil.Process:
        """The one process of a deployment."""
        found = self._processes(name)
        assert len(found) == 1, [one.cmdline() for one in self._driver.children(recursive=True)]
        return found.popitem()[1]

    def _processes(self, name: str) -> dict[int, psutil.Process]:
        found = {}
        for process in self._driver.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith(_PROCESS + name):
                    found[process.pid] = process
        return found

    def owner(self, stored: str) -> psutil.Process:
        """The process that last wrote to a memory."""
        hold = MemoryStore.existing(self.store).manifest(stored).hold
        assert hold is not None
        return psutil.Process(int(hold.owner.split("-")[-2]))


@contextlib.contextmanager
def cluster(
    store: Path, *, settings: dict[str, Any] | None = None, **how: Any
) -> Iterator[Cluster]:
    """Serve a store with the nano."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"model": "nano", "store": str(store), "cpus": 0.1} | how
    given["settings"] = {"host": "127.0.0.1", "port": port} | (settings or {})
    folder = tempfile.mkdtemp(prefix="ray")
    errors = Path(folder) / "errors"
    environment = os.environ | {"RAY_TMPDIR": folder, "OMP_NUM_THREADS": "1"}
    with errors.open("w") as stderr:
        driver = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, json.dumps(given)],
            stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment,
        )  # fmt: skip
    watched = psutil.Process(driver.pid)
    started: dict[int, psutil.Process] = {}
    try:
        assert driver.stdout is not None
        url = driver.stdout.readline().strip()
        assert url, errors.read_text()
        started |= {one.pid: one for one in watched.children(recursive=True)}
        yield Cluster(url, store, watched)
        started |= {one.pid: one for one in watched.children(recursive=True)}
        driver.terminate()
        assert driver.wait(PATIENCE) == 0, errors.read_text()
        until(lambda: not any(_lives(one) for one in started.values()), 60)
    finally:
        _end(watched, started)
        driver.wait()
        driver.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _end(driver: psutil.Process, started: dict[int, psutil.Process]) -> None:
    """Whatever is left of a test that failed."""
    left = dict(started)
    with contextlib.suppress(psutil.Error):
        left |= {one.pid: one for one in [driver, *driver.children(recursive=True)]}
    for process in left.values():
        with contextlib.suppress(psutil.Error):
            process.kill()


def until(happened: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.1)


class Load:
    """Writers that repeat what failed, as clients do, and remember what was acknowledged.

    Args:
        url: of the server.
        memories: are written to in turn.
        writers: threads.
        pause: seconds between two writes of one thread.
    """

    def __init__(self, url: str, memories: list[str], writers: int, pause: float = 0.0) -> None:
        self._url = url
        self._memories = memories
        self._pause = pause
        self._stop = threading.Event()
        self.acknowledged: dict[str, list[str]] = {name: [] for name in memories}
        self.failed: list[str] = []
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(writers)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    @property
    def count(self) -> int:
        return sum(len(texts) for texts in self.acknowledged.values())

    def _write(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as client:
            count = 0
            while not self._stop.is_set():
                memory = self._memories[(number + count) % len(self._memories)]
                text = f"Note {number} of {count} ends."
                self._until_written(client, memory, text)
                count += 1
                self._stop.wait(self._pause)

    def _until_written(self, client: httpx.Client, memory: str, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                answer = client.post(
                    f"/v1/memories/{memory}/writes",
                    json={"text": text}, headers={"Idempotency-Key": f"{memory}-{text}"},
                )  # fmt: skip
            except httpx.HTTPError as error:
                self.failed.append(type(error).__name__)
            else:
                if answer.is_success:
                    self.acknowledged[memory].append(text)
                    return
                self.failed.append(f"{answer.status_code} {answer.json()['error']['code']}")
            time.sleep(0.2)
        raise TimeoutError(memory)


def told(store: Path, model: Any, memory: str) -> str:
    """Everything that a memory was told."""
    with MemoryStore.existing(store).open(memory, model) as opened:
        return "".join(one.text for one in opened.texts().values()) + opened.tail_text
