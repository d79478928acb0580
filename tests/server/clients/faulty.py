"""A proxy before a server that spoils answers after the server has done its work."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import uvicorn

PATIENCE = 60.0
DROP = 0
"""In the place of a status: the connection is closed in the middle of the answer."""
_KEPT = {b"content-type", b"x-request-id"}


class Faulty:
    """The proxy as an application.

    Attributes:
        plan: what becomes of the next answers: a status in the place of theirs, or ``DROP``; with
            nothing left they pass.
        seen: headers of the requests that came.
    """

    def __init__(self, target: str) -> None:
        self.plan: list[int] = []
        self.seen: list[dict[str, str]] = []
        self._target = target

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        self.seen.append(headers)
        passed = {k: v for k, v in headers.items() if k not in ("host", "content-length")}
        async with httpx.AsyncClient(base_url=self._target, timeout=PATIENCE) as client:
            answer = await client.request(
                scope["method"], scope["path"], content=body, headers=passed
            )
        status = self.plan.pop(0) if self.plan else answer.status_code
        kept = [(k, v) for k, v in answer.headers.raw if k.lower() in _KEPT]
        if status == DROP:
            length = (b"content-length", str(len(answer.content) + 1).encode())
            start = {"type": "http.response.start", "status": 200, "headers": [*kept, length]}
            await send(start)
            half = answer.content[: len(answer.content) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            return
        if status != answer.status_code:
            kept.append((b"retry-after-ms", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": kept})
        await send({"type": "http.response.body", "body": answer.content})


@contextlib.contextmanager
def before(target: str) -> Iterator[tuple[str, Faulty]]:
    """The proxy's address and itself, listening until the block ends."""
    proxy = Faulty(target)
    config = uvicorn.Config(proxy, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + PATIENCE
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", proxy
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
