"""Clients that go on through every end of their server, and know what they were told was written.

Each tries a request again until it is answered, as the stock client does: the same body, the same
key if it has one, and the number of the trial in a header.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

MEMORIES = ("ada", "bob", "cyd")
_LONGEST = 5
"""Turns of one conversation."""
_AGAIN = {409, 429, 503}


@dataclass
class Talk:
    """A conversation, as its client knows it."""

    memory: str
    id: str
    kept: bool
    """Whether the server keeps its items."""
    turns: list[dict[str, str]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)


class Persisting(threading.Thread):
    """One client.

    Attributes:
        told: memory -> marks of what it was told is written, in order.
        tried: memory -> marks of what it tried once and was told nothing of.
        talks: all its conversations.
        refusals: answers that were neither a success nor asked it to try again.
    """

    def __init__(self, number: int, url: str, seed: int) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self.number = number
        self.told: dict[str, list[str]] = defaultdict(list)
        self.tried: dict[str, list[str]] = defaultdict(list)
        self.talks: list[Talk] = []
        self.refusals: list[str] = []
        self.asked = self.trials = 0
        self.stop = threading.Event()
        self._random = Random(seed)
        self._number = 0
        self._url = url

    @property
    def count(self) -> int:
        """How much it was told is written."""
        return sum(map(len, list(self.told.values())))

    def run(self) -> None:
        """Write, chat and ask until stopped; what was begun is brought to its end."""
        acts = (self._write, self._write, self._chat, self._chat, self._respond, self._ask)
        with httpx.Client(base_url=self._url, timeout=60) as self._client:
            while not self.stop.is_set():
                self._random.choice(acts)(self._random.choice(MEMORIES))

    def _mark(self) -> str:
        self._number += 1
        return f"item {self.number} {self._number:05d} end"

    def _text(self, mark: str) -> str:
        return mark + " and so on" * self._random.choice((0, 0, 5, 60)) + ". "

    # What it does -------------------------------------------------------------------------------

    def _write(self, memory: str) -> None:
        mark = self._mark()
        # Without a key a retry is known only where nobody else has written in between.
        kind = self._random.choice(("keyed", "keyed", "once"))
        headers = {"Idempotency-Key": mark} if kind == "keyed" else {}
        body = {"text": self._text(mark), "flush": self._random.random() < 0.2}
        done = self._post(f"/v1/memories/{memory}/writes", body, headers, once=kind == "once")
        (self.tried if done is None else self.told)[memory].append(mark)
        if done is not None:
            assert done["durable"]

    def _ask(self, memory: str) -> None:
        done = self._post(f"/v1/memories/{memory}/ask", {"question": "What is item 1?"}, {})
        self.asked += done is not None

    def _turn(self, mark: str) -> str:
        return f"{mark}." if self._random.random() < 0.7 else f"What is {mark}?"

    def _chat(self, memory: str) -> None:
        talk = self._talk(memory, kept=False)
        mark = self._mark()
        turns = [*talk.turns, {"role": "user", "content": self._turn(mark)}]
        body = {"model": "nano", "messages": turns, "max_tokens": 6, "memory": memory}
        body |= {"conversation": talk.id, "stream": self._random.random() < 0.5}
        done = self._post("/v1/chat/completions", body, {})
        if done is not None and done["memory"]["durable"]:
            reply = done["choices"][0]["message"]
            talk.turns = [*turns, {"role": "assistant", "content": reply["content"]}]
            self.told[memory].append(mark)
            talk.marks.append(mark)

    def _respond(self, memory: str) -> None:
        talk = self._talk(memory, kept=True)
        mark = self._mark()
        body = {"model": "nano", "input": self._turn(mark), "max_output_tokens": 6}
        body |= {"conversation": talk.id}
        headers = {"Idempotency-Key": mark} if self._random.random() < 0.5 else {}
        done = self._post("/v1/responses", body, headers)
        if done is not None and done["memory"]["durable"]:
            self.told[memory].append(mark)
            talk.marks.append(mark)

    def _talk(self, memory: str, *, kept: bool) -> Talk:
        open = [one for one in self.talks if (one.memory, one.kept) == (memory, kept)]
        if open and len(open[-1].marks) < _LONGEST:
            return open[-1]
        id = f"talk-{self.number}-{len(self.talks)}"
        if kept:
            made = self._post("/v1/conversations", {"memory": {"id": memory}}, {})
            id = "" if made is None else made["id"]
        self.talks.append(Talk(memory, id, kept))
        return self.talks[-1]

    # How it sends -------------------------------------------------------------------------------

    def _post(
        self, path: str, body: dict[str, Any], headers: dict[str, str], *, once: bool = False
    ) -> dict[str, Any] | None:
        """What was answered; None: nothing (with ``once``), or a refusal."""
        trial = 0
        while True:
            try:
                if body.get("stream"):
                    found = self._streamed(path, body, _counted(headers, trial))
                else:
                    found = self._client.post(path, json=body, headers=_counted(headers, trial))
            except httpx.TransportError:
                if once:
                    return None
                found = None
            if found is not None and not (isinstance(found, httpx.Response) and again(found)):
                return self._answer(found)
            trial += 1
            self.trials += 1
            time.sleep(0.05)

    def _answer(self, found: httpx.Response | dict[str, Any]) -> dict[str, Any] | None:
        if isinstance(found, dict):
            return found
        if found.is_success:
            done: dict[str, Any] = found.json()
            return done
        if "memory_not_found" not in found.text:  # it was asked before anything was written
            self.refusals.append(f"{found.status_code} {found.text}")
        return None

    def _streamed(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> httpx.Response | dict[str, Any]:
        """A stream's text and what its last event says; only a whole one counts."""
        text, memory = "", None
        with self._client.stream("POST", path, json=body, headers=headers) as answer:
            if not answer.is_success:
                answer.read()
                return answer
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    return {"memory": memory, "choices": [{"message": {"content": text}}]}
                if line.startswith("data: "):
                    event = json.loads(line[6:])
                    memory = event.get("memory", memory)
                    for choice in event.get("choices", []):
                        text += choice["delta"].get("content", "")
        raise httpx.ReadError("the stream ended too early")


def again(answer: httpx.Response) -> bool:
    """Whether the stock client tries again after this."""
    final = answer.headers.get("x-should-retry") == "false"
    return answer.status_code in _AGAIN and not final


def _counted(headers: dict[str, str], trial: int) -> dict[str, str]:
    return headers | {"x-stainless-retry-count": str(trial)}
