from __future__ import annotations

from pathlib import Path

from tests.server.serving import serving

from memplus.mplus.model import MPlus


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
