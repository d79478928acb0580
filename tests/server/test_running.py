from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from memplus.errors import UsageError
from memplus.mplus.model import MPlus
from memplus.server.running import _Draining, configured, run
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore


def test_it_listens_until_what_runs_has_ended(tmp_path: Path, nano: MPlus) -> None:
    services = Services(MemoryStore(tmp_path), lambda: nano, ServerSettings(), model_name="nano")
    server = _Draining(configured(services), services, lambda _: None)
    assert server.config.timeout_keep_alive > 5  # that of the stock client's connections

    async def stopped() -> None:
        services.running_requests = 1
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.2)
        assert services.state == "draining"
        assert not server.should_exit
        services.running_requests = 0
        await asyncio.sleep(0.2)
        assert server.should_exit
        assert not server.force_exit

    asyncio.run(stopped())
    services.database.close()


def test_a_server_that_cannot_load_its_model_ends_and_says_why(tmp_path: Path) -> None:
    def load() -> MPlus:
        raise UsageError("there is no such model")

    settings = ServerSettings(port=0)
    services = Services(MemoryStore(tmp_path), load, settings, model_name="nano")
    urls: list[str] = []
    with pytest.raises(UsageError, match="no such model"):
        run(services, urls.append)
    assert len(urls) == 1
