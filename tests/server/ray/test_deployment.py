from __future__ import annotations

from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.server.ray.deployment import Deployed, deployed_from
from memplus.server.settings import ServerSettings


@pytest.mark.parametrize(
    "wrong",
    [{"replicas": 0}, {"ingresses": 0}, {"replicas": 3, "max_replicas": 2}, {"cpus": 0.0}],
)
def test_what_cannot_be_deployed_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        Deployed("nano", "/memories", **wrong)


def test_a_file_says_everything_by_the_fields_own_names() -> None:
    found = deployed_from(
        {
            "model": "nano", "store": "/memories", "replicas": 2, "max_replicas": 5,
            "settings": {"host": "0.0.0.0", "allowed_hosts": ["memory.example"]},
        }
    )  # fmt: skip
    settings = ServerSettings(host="0.0.0.0", allowed_hosts=("memory.example",))
    assert found == Deployed("nano", "/memories", replicas=2, max_replicas=5, settings=settings)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 2}, "replica"),
        ({"settings": {"hosts": "x"}}, "settings.hosts"),
        ({"replicas": "many"}, "replicas"),
        ({"settings": 3}, "settings"),
        ({"settings": {"port": -1}}, "port"),
    ],
)
def test_a_mistake_in_a_file_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        deployed_from({"model": "nano", "store": "/memories"} | values)
    assert error.value.fields["field"] == named


def test_a_file_must_say_model_and_store() -> None:
    with pytest.raises(ConfigError, match="store"):
        deployed_from({"model": "nano"})
