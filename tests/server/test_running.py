from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from memplus.mplus.model import MPlus
from memplus.server.running import _Draining, configured
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore


def test_it_listens_until_what_runs_has_ended(tmp_path: Path, nano: MPlus) -> None:
    services = Services(MemoryStore(tmp_path), lambda: nano, ServerSettings(), model_name="nano")
    server = _Draining(configured(services), services, lambda _: None)
    assert server.config.timeout_keep_alive > 5  # that of the stock client's connections

    async def run() -> None:
        services.running_requests = 1
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.2)
        assert services.state == "draining"
        assert not server.should_exit
        services.running_requests = 0
        await asyncio.sleep(0.2)
        assert server.should_exit
        assert not server.force_exit

    asyncio.run(run())
    services.database.close()
