from __future__ import annotations

from pathlib import Path

from tests.server.serving import serving

import memplus
from memplus.mplus.model import MPlus


def test_probes_need_no_key(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, keys=True) as served, served.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}
        assert client.get("/version").json() == {"version": memplus.__version__, "model": "nano"}


def test_a_store_that_takes_no_files_is_not_ready(
    tmp_path: Path, nano: MPlus, monkeypatch: object
) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        served.services.writable = lambda: False  # type: ignore[method-assign]
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "failed"})
