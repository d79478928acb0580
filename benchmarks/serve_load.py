"""A served model under ten times the load that it can sustain; see ``serve.py load``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from memplus import MemoryStore, MPlus

_START_SECONDS = 300.0
_END_SECONDS = 900.0
_SAMPLE_SECONDS = 0.25
_MOST_OPEN = 800
"""Requests of the clients at once; what would be more is counted as not sent."""
_ASK, _WRITE = 0.4, 0.3
"""Shares of questions and of writes; the rest are chats, which are streamed and written."""


@dataclass
class Seen:
    """What the clients of one phase saw."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    first_token: list[float] = field(default_factory=list)
    """Seconds to the first text of each chat."""
    generated: int = 0
    written: int = 0
    """Tokens."""
    not_sent: int = 0

    def shares(self) -> dict[str, float]:
        """Of all that was sent."""
        total = max(1, self.statuses.total())
        return {name: count / total for name, count in sorted(self.statuses.items())}

    def told(self) -> dict[str, Any]:
        """For the last line."""
        ordered = sorted(self.first_token)
        done = self.statuses["200"] + self.statuses["201"]
        return {
            "seconds": self.seconds,
            "sent": self.statuses.total(),
            "sent_per_second": self.statuses.total() / self.seconds,
            "done_per_second": done / self.seconds,
            "shares": self.shares(),
            "without_retry_after": self.without_retry_after,
            "not_sent": self.not_sent,
            "first_token_p50": _percentile(ordered, 0.5),
            "first_token_p99": _percentile(ordered, 0.99),
            "generated_per_second": self.generated / self.seconds,
            "written_per_second": self.written / self.seconds,
        }


def _percentile(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass
class Clients:
    """Many clients of one server, and what it acknowledged to them."""

    http: httpx.AsyncClient
    model: str
    memories: int
    new: int
    random: Random
    acknowledged: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0

    async def one(self, seen: Seen) -> None:
        """Send one request of the mixture."""
        memory = f"m{self.random.randrange(self.memories)}"
        self.count += 1
        mark = f"item {self.count:07d} end"
        kind = self.random.random()
        try:
            if kind < _ASK:
                await self._ask(seen, memory)
            elif kind < _ASK + _WRITE:
                await self._write(seen, memory, mark)
            else:
                await self._chat(seen, memory, mark)
        except httpx.HTTPError as error:
            seen.statuses[type(error).__name__] += 1

    def _note(self, seen: Seen, answer: httpx.Response) -> bool:
        seen.statuses[str(answer.status_code)] += 1
        if answer.status_code in (429, 503) and "retry-after" not in answer.headers:
            seen.without_retry_after += 1
        return answer.is_success

    async def _ask(self, seen: Seen, memory: str) -> None:
        body = {"question": "What is item 1?", "max_tokens": self.new}
        answer = await self.http.post(f"/v1/memories/{memory}/ask", json=body)
        if self._note(seen, answer):
            seen.generated += answer.json()["usage"]["completion_tokens"]

    async def _write(self, seen: Seen, memory: str, mark: str) -> None:
        text = f"{mark}" + " and so on" * 12 + ". "
        answer = await self.http.post(f"/v1/memories/{memory}/writes", json={"text": text})
        if self._note(seen, answer):
            self.acknowledged[memory].append(mark)
            seen.written += answer.json()["tokens"]

    async def _chat(self, seen: Seen, memory: str, mark: str) -> None:
        body: dict[str, Any] = {
            "model": self.model,
            "memory": memory,
            "conversation": mark,
            "messages": [{"role": "user", "content": f"What is {mark}?"}],
            "max_tokens": self.new,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        begun, first, memory_told = time.perf_counter(), None, None
        async with self.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            if not self._note(seen, answer):
                return
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    seen.statuses[f"200, then {event['error']['code']}"] += 1
                    return
                memory_told = event.get("memory") or memory_told
                said = [choice["delta"].get("content") for choice in event["choices"]]
                if first is None and any(said):
                    first = time.perf_counter() - begun
                    seen.first_token.append(first)
                seen.generated += (event.get("usage") or {}).get("completion_tokens", 0)
        if memory_told is not None and memory_told["durable"]:
            self.acknowledged[memory].append(mark)

    async def one_after_another(self, seconds: float, askers: int) -> Seen:
        """So many clients, each of which sends its next request when the last one is answered."""
        seen, end = Seen(), time.perf_counter() + seconds
        begun = time.perf_counter()

        async def asker() -> None:
            while time.perf_counter() < end:
                await self.one(seen)

        await asyncio.gather(*(asker() for _ in range(askers)))
        seen.seconds = time.perf_counter() - begun
        return seen

    async def at_rate(self, seconds: float, rate: float) -> Seen:
        """Clients that come whatever happens to those before them."""
        seen, begun = Seen(), time.perf_counter()
        open_now: set[asyncio.Task[None]] = set()
        sent = 0
        while (now := time.perf_counter() - begun) < seconds:
            due = int(now * rate) - sent
            sent += due
            for _ in range(due):
                if len(open_now) >= _MOST_OPEN:
                    seen.not_sent += 1
                    continue
                task = asyncio.create_task(self.one(seen))
                open_now.add(task)
                task.add_done_callback(open_now.discard)
            await asyncio.sleep(0.01)
        await asyncio.gather(*open_now)
        seen.seconds = time.perf_counter() - begun
        return seen


@dataclass
class Sizes:
    """The server's queue and process, looked at again and again."""

    pid: int
    http: httpx.AsyncClient
    resident: list[int] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            status = Path(f"/proc/{self.pid}/status").read_text()
            self.resident.append(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024)
            try:
                told = (await self.http.get("/metrics")).text
            except httpx.HTTPError:
                told = ""
            for name, found in (("waiting", self.waiting), ("running", self.running)):
                found += map(float, re.findall(rf"^memplus_requests_{name} (\S+)", told, re.M))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def told(self, before: int) -> dict[str, Any]:
        """For the last line; the process may grow at first, but must not go on growing."""
        third = max(1, len(self.resident) // 3)
        middle = self.resident[third : 2 * third] or self.resident
        return {
            "most_waiting": max(self.waiting, default=None),
            "most_running": max(self.running, default=None),
            "resident_before": before,
            "most_resident": max(self.resident),
            "growth": max(self.resident) / before,
            "late_growth": statistics.median(self.resident[-third:]) / statistics.median(middle),
        }


@asynccontextmanager
async def _served(
    arguments: argparse.Namespace, store: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """A real server process, ready; it is ended by SIGTERM and must end well."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "memplus.cli.main", "serve", "--model", arguments.model]
    command += ["--dtype", arguments.dtype, "--store", str(store), "--port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    log = store.with_name("log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    address = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as http:
        try:
            await _until_ready(http, process)
            yield http, process.pid
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, _END_SECONDS)
            if code:
                raise SystemExit(f"the server ended with {code}")
        finally:
            process.kill()
            process.wait()
            log.close()


async def _until_ready(http: httpx.AsyncClient, process: subprocess.Popen[bytes]) -> None:
    end = time.perf_counter() + _START_SECONDS
    while time.perf_counter() < end and process.poll() is None:
        try:
            if (await http.get("/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise SystemExit("the server did not start")


def _lost(store: Path, model: MPlus, acknowledged: dict[str, list[str]]) -> tuple[int, int]:
    """How many acknowledged writes are not in their memories, and how many are there twice."""
    opened = MemoryStore(store)
    lost = twice = 0
    for name, marks in acknowledged.items():
        opened.verify(name)
        with opened.open(name, model) as memory:
            text = "".join(one.text for one in memory.texts().values()) + memory.tail_text
        counts = Counter(re.findall(r"item \d{7} end", text))
        lost += sum(not counts[mark] for mark in marks)
        twice += sum(counts[mark] > 1 for mark in marks)
    return lost, twice


async def _driven(arguments: argparse.Namespace, store: Path) -> tuple[Clients, dict[str, Any]]:
    async with _served(arguments, store) as (http, pid):
        clients = Clients(
            http, arguments.model, arguments.memories, arguments.new, Random(arguments.seed)
        )
        for number in range(arguments.memories):
            (await http.post("/v1/memories", json={"id": f"m{number}"})).raise_for_status()
        calm = max(2.0, arguments.seconds / 6)
        await clients.one_after_another(calm / 4, arguments.askers)  # the first ones are slow
        sustained = await clients.one_after_another(calm, arguments.askers)
        rate = sustained.statuses.total() / sustained.seconds
        sizes = Sizes(pid, http)
        watching = asyncio.create_task(sizes.watch())
        await asyncio.sleep(2 * _SAMPLE_SECONDS)
        before = sizes.resident[-1]
        loaded = await clients.at_rate(arguments.seconds, arguments.times * rate)
        watching.cancel()
    phases = {"sustained": sustained.told(), "loaded": loaded.told()}
    return clients, {**phases, "sizes": sizes.told(before)}


def measure_load(arguments: argparse.Namespace) -> dict[str, Any]:
    """Find what the server sustains, send so many times as much, and look for what is lost."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        clients, found = asyncio.run(_driven(arguments, store))
        model = MPlus.from_pretrained(arguments.model, dtype=arguments.dtype)
        lost, twice = _lost(store, model, clients.acknowledged)
    for name in ("sustained", "loaded"):
        one = found[name]
        shares = "  ".join(f"{status} {share:.1%}" for status, share in one["shares"].items())
        print(
            f"{name:<10} sent {one['sent_per_second']:7.1f}/s  done {one['done_per_second']:6.1f}/s"
            f"  first token p50 {_seconds(one['first_token_p50'])} p99 "
            f"{_seconds(one['first_token_p99'])}  {one['generated_per_second']:.1f} tokens/s"
            f"  {shares}"
        )
    acknowledged = sum(map(len, clients.acknowledged.values()))
    print(f"acknowledged writes {acknowledged}, lost {lost}, there twice {twice}")
    sizes = found["sizes"]
    print(
        f"most waiting {sizes['most_waiting']}, most running {sizes['most_running']}, resident "
        f"{sizes['growth']:.2f} times as much, {sizes['late_growth']:.2f} in the last third"
    )
    return {**found, "acknowledged": acknowledged, "lost": lost, "twice": twice}


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``serve.py load``."""
    parser.add_argument("--model", default="nano")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the load")
    parser.add_argument("--times", type=float, default=10.0, help="what the server sustains")
    parser.add_argument("--askers", type=int, default=8, help="clients that find what it sustains")
    parser.add_argument("--memories", type=int, default=40)
    parser.add_argument("--new", type=int, default=24, help="most tokens of each answer")
    parser.add_argument("--threads", type=int, default=1, help="of the server")
    parser.add_argument("--seed", type=int, default=0)
