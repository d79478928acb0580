from __future__ import annotations

from pathlib import Path

from tests.server.serving import serving

from memplus.mplus.model import MPlus


def test_memories_are_listed_as_models_where_they_are_asked_for(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano) as served:
        for name in ("notes", "acme/secret"):
            served.services.store.create(name, nano).close()
        with served.client() as client:
            listed = client.get("/v1/models", params={"memories": "true"}).json()["data"]
            assert [model["id"] for model in listed] == ["nano", "nano@notes"]
            assert client.get("/v1/models").json()["data"] == listed[:1]
            behind = client.get("/v1/models/", params={"memories": "true"})
            assert behind.json()["data"] == listed
            assert client.get("/v1/models/nano@notes").json() == listed[1]
            for name in ("nano@secret", "nano@acme/secret", "other@notes"):
                answer = client.get(f"/v1/models/{name}")
                assert answer.status_code == 404
                assert answer.json()["error"]["code"] == "model_not_found"
