from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from memplus.errors import MemplusError
from memplus.server.ray.carried import CarriedRequest
from memplus.server.ray.deployment import Deployed
from memplus.server.ray.replica import Replica
from memplus.store import MemoryStore


async def ask(replica: Replica, path: str, body: object = None) -> tuple[int, Any]:
    sent = b"" if body is None else json.dumps(body).encode()
    scope = {
        "method": "GET" if body is None else "POST", "path": path, "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }  # fmt: skip
    found = [one async for one in replica.answer(CarriedRequest(scope, sent))]
    assert found[0] is None
    body_bytes = b"".join(one.get("body", b"") for one in found[2:] if one is not None)
    assert found[1] is not None
    return found[1]["status"], json.loads(body_bytes)


def test_a_replica_is_ready_when_it_has_started_and_lets_go_when_it_stops(tmp_path: Path) -> None:
    async def run() -> None:
        replica = Replica(Deployed("nano", str(tmp_path)), "host-1-a")
        await replica.start()
        await replica.check_health()
        assert await ask(replica, "/ready") == (200, {"status": "ready"})
        status, written = await ask(replica, "/v1/memories/a/writes", {"text": "Anna sings."})
        assert (status, written["durable"]) == (201, True)
        hold = MemoryStore.existing(tmp_path).manifest("a").hold
        assert hold is not None
        assert (hold.owner, hold.held) == ("host-1-a", True)
        await replica.stop()
        hold = MemoryStore.existing(tmp_path).manifest("a").hold
        assert hold is not None
        assert not hold.held

    asyncio.run(run())


def test_a_replica_whose_model_cannot_be_loaded_does_not_start(tmp_path: Path) -> None:
    async def run() -> None:
        replica = Replica(Deployed("no-such-model", str(tmp_path)), "host-1-a")
        with pytest.raises(MemplusError):
            await replica.start()
        with pytest.raises(RuntimeError):
            await replica.check_health()
        await replica.stop()

    asyncio.run(run())
