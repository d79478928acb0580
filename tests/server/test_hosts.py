from __future__ import annotations

from pathlib import Path

import pytest
from tests.server.serving import serving
from tests.server.speaking import failure

from memplus.mplus.model import MPlus


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/mcp", "/nothing"])
def test_another_name_is_refused_in_the_shape_of_every_error(
    tmp_path: Path, nano: MPlus, path: str
) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        for name in ("evil.example", "127.0.0.1.evil.example", "", "["):
            answer = client.get(path, headers={"Host": name})
            assert failure(answer, 400) == "host_not_allowed"
            assert answer.headers["x-request-id"]
        for name in ("localhost", "LOCALHOST:8000", "127.0.0.1"):
            assert client.get("/health", headers={"Host": name}).status_code == 200


def test_more_names_and_any_name_can_be_allowed(tmp_path: Path, nano: MPlus) -> None:
    for allowed in (("memory.example",), ("*.example",), ("*",)):
        with serving(tmp_path, nano, allowed_hosts=allowed) as served, served.client() as client:
            answer = client.get("/health", headers={"Host": "memory.example"})
            assert answer.status_code == 200
