from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema
from starlette.testclient import TestClient
from starlette.types import Message

from memplus.errors import ConfigError, UsageError
from memplus.server.beside import SCHEMA
from memplus.server.database import ServerDatabase
from memplus.server.keys import Keys
from memplus.server.ray.application import IngressDeployment, build, prepare
from memplus.server.ray.deployment import Deployed, deployed_from
from memplus.server.ray.ingress import Unreachable
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore


def test_a_directory_that_is_prepared_is_shared_from_then_on(tmp_path: Path) -> None:
    prepare(Deployed("nano", str(tmp_path))).close()
    assert (tmp_path / "owners").is_dir()
    assert list(MemoryStore(tmp_path)) == []
    prepare(Deployed("nano", str(tmp_path))).close()


def test_what_a_cluster_starts_from_a_file_needs_keys(tmp_path: Path) -> None:
    values = {"model": "nano", "store": str(tmp_path), "replicas": 2, "max_replicas": 3}
    with pytest.raises(UsageError, match="keys add"):
        build(values)
    database = ServerDatabase(tmp_path, SCHEMA)
    Keys(database).add("first")
    database.close()
    assert isinstance(build(values), Application)
    with pytest.raises(ConfigError, match="replica"):
        build(values | {"replica": 1})


def test_the_example_for_kubernetes_says_what_can_be_deployed() -> None:
    path = Path(__file__).parents[3] / "examples" / "kuberay.yaml"
    service = yaml.safe_load(path.read_text())
    schema = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (one,) = schema.applications
    module, _, name = one.import_path.partition(":")
    assert getattr(importlib.import_module(module), name) is build
    deployed = deployed_from(one.args)
    assert (deployed.replicas, deployed.max_replicas) == (2, 8)


def test_a_page_that_may_call_hears_what_the_ingress_refuses() -> None:
    async def hand(*_: object) -> AsyncGenerator[Message | None, None]:
        raise Unreachable(full=True)
        yield None

    origin = "https://app.example"
    settings = ServerSettings(allowed_origins=(origin,), body_bytes=100)
    ingress = SimpleNamespace(
        _deployed=Deployed("nano", "store", settings=settings),
        _hand=hand,
        _destinations=SimpleNamespace(session=lambda request: "notes"),
        _figures=None,
        _missed=lambda request, kept: None,
    )
    client = TestClient(IngressDeployment.__serve_build_asgi_app__(ingress))
    page = {"Origin": origin}
    for body, code in ((b"x", "overloaded"), (b"x" * 101, "request_too_large")):
        answer = client.post("/v1/memories", content=body, headers=page)
        assert answer.json()["error"]["code"] == code
        assert answer.headers["access-control-allow-origin"] == origin
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
    asked = client.options("/v1/memories", headers=page | {"Access-Control-Request-Method": "POST"})
    assert asked.status_code == 200
