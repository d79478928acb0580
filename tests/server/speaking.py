"""What the tests of the server say to it, again and again."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["ANSWER", "FACT", "QUESTION", "ask", "failure", "note", "texts", "write"]

FACT = "Marta Velez's locker code is 4821."
QUESTION, ANSWER = "What is Marta Velez's locker code?", "4821"


def note(number: int) -> str:
    """Some text of about a chunk, which no other number has."""
    return f" Shelf {number} of row {number + 7} holds box {number * 13}." * 6


def write(client: httpx.Client, memory: str = "ann", **body: Any) -> dict[str, Any]:
    """Write a text and give what the server says of it."""
    headers = body.pop("headers", None)
    body.setdefault("text", FACT)
    answer = client.post(f"/v1/memories/{memory}/writes", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def ask(client: httpx.Client, memory: str = "ann", **body: Any) -> dict[str, Any]:
    """Ask a question and give the answer."""
    body.setdefault("question", QUESTION)
    answer = client.post(f"/v1/memories/{memory}/ask", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def failure(answer: httpx.Response, status: int) -> str:
    """The code of an error, in the one shape that all errors have."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return str(error["code"])


def texts(client: httpx.Client, memory: str = "ann") -> list[str]:
    """Everything that a memory of a few writes was told, the tail last."""
    page = client.get(f"/v1/memories/{memory}/writes", params={"limit": 100}).json()
    tail = [] if page["tail"] is None else [page["tail"]["text"]]
    return [one["text"] for one in page["data"]] + tail
