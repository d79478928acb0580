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


def test_without_keys_whoever_is_on_this_machine_may_ask(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        answer = client.get("/v1/models")
        assert answer.status_code == 200
        (model,) = answer.json()["data"]
        assert (model["id"], model["object"]) == ("nano", "model")
        assert client.get("/v1/models/nano").json() == model
        key = served.key()  # from the first one on, all need one
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).is_success


def test_a_key_is_needed_where_there_are_keys(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, keys=True) as served, served.client() as client:
        for header in ("", "Bearer", "Bearer mp-wrong", "Basic YTpi", "Bearer a b"):
            answer = client.get("/v1/models", headers={"Authorization": header} if header else {})
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        key = served.key()
        with served.client(key) as known:
            assert known.get("/v1/models").is_success
            served.services.keys.revoke(served.services.keys.all()[-1].id)
            assert known.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/nothing", 404, "not_found_error"),
        ("PUT", "/v1/models", 405, "invalid_request_error"),
        ("GET", "/v1/models?memories=perhaps", 400, "invalid_request_error"),
        ("GET", "/v1/models/gpt", 404, "not_found_error"),
        ("GET", "/v1/models/nano@none", 404, "not_found_error"),
    ],
)
def test_every_error_has_one_body(
    tmp_path: Path, nano: MPlus, method: str, path: str, status: int, kind: str
) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        answer = client.request(method, path)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == kind
        assert error["code"]
        assert str(tmp_path) not in answer.text


def test_a_request_keeps_its_id(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        given = client.get("/health", headers={"x-request-id": "abc-1"})
        assert given.headers["x-request-id"] == "abc-1"
        for bad in ("a b", "x" * 200, "\u00e9"):
            answer = client.get("/v1/none", headers={"x-request-id": bad.encode("latin-1")})
            assert answer.headers["x-request-id"].startswith("req_")
        seen = {client.get("/health").headers["x-request-id"] for _ in range(3)}
        assert len(seen) == 3


def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, body_bytes=1000) as served, served.client() as client:
        told = client.post("/v1/models", content=b"x" * 1001)
        assert told.status_code == 413
        assert told.json()["error"]["code"] == "request_too_large"


def test_another_host_name_is_refused(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400


def test_pages_of_others_get_nothing_unless_they_are_named(tmp_path: Path, nano: MPlus) -> None:
    origin = "https://app.example"
    for allowed in ((), (origin,)):
        with serving(tmp_path, nano, allowed_origins=allowed) as served, served.client() as client:
            answer = client.get("/v1/models", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == (
                origin if allowed else None
            )


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
