from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.server.serving import serving

from memplus.errors import UsageError
from memplus.mplus.model import MPlus
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore


def test_while_the_model_loads_the_server_lives_and_is_not_ready(
    tmp_path: Path, nano: MPlus
) -> None:
    loaded, loading = threading.Event(), threading.Event()

    def load() -> MPlus:
        loading.set()
        loaded.wait(60)
        return nano

    def look() -> None:
        assert loading.wait(60)
        loaded.set()

    threading.Thread(target=look).start()
    with serving(tmp_path, load) as served, served.client() as client:
        assert client.get("/ready").json() == {"status": "ready"}
        served.services.state = "loading"
        assert client.get("/health").is_success
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading"})


def test_a_model_that_cannot_be_loaded_is_told_by_readiness(tmp_path: Path) -> None:
    def load() -> MPlus:
        raise UsageError("there is no such model")

    with serving(tmp_path, load) as served, served.client() as client:
        assert client.get("/ready").json() == {"status": "failed"}
        answer = client.get("/v1/models/nano@a")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1


def test_without_keys_it_listens_on_this_machine_only(tmp_path: Path, nano: MPlus) -> None:
    settings = ServerSettings(host="0.0.0.0")
    with pytest.raises(UsageError, match="keys"):
        Services(MemoryStore(tmp_path), lambda: nano, settings, model_name="nano")
