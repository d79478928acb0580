from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from tests.server.serving import Served, serving
from tests.server.talking import user

from memplus.mplus.model import MPlus


def post(served: Served, key: str = "", **body: Any) -> httpx.Response:
    with served.client(key) as client:
        return client.post("/tokenize", json=body)


def test_a_text_is_counted_as_it_would_be_read(served: Served, nano: MPlus) -> None:
    found = post(served, prompt="The gate is red.").json()
    assert found["tokens"] == nano.encode("The gate is red.")
    assert found["count"] == len(found["tokens"])
    assert found["max_model_len"] == nano.positions
    assert post(served, prompt="").json()["count"] == 0


def test_a_chat_is_counted_in_the_models_template(served: Served, nano: MPlus) -> None:
    found = post(served, model="nano", messages=[user("Why?")]).json()
    assert found["tokens"] == nano.asker.encode("Why?")


def test_one_of_the_two_is_needed(served: Served) -> None:
    assert post(served).status_code == 400
    assert post(served, prompt="a", messages=[user("b")]).status_code == 400
    assert post(served, model="other", prompt="a").status_code == 404


def test_counting_needs_a_key(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, keys=True) as served:
        assert post(served, prompt="a").status_code == 401
        assert post(served, served.key(scopes=("read",)), prompt="a").is_success
