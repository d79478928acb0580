from __future__ import annotations

from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.server.settings import ServerSettings


@pytest.mark.parametrize(
    "given", [{"port": 1 << 16}, {"port": -1}, {"body_bytes": -1}, {"idle_seconds": -0.1}]
)
def test_a_bound_that_is_none_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        ServerSettings(**given)


def test_nobody_comes_in_from_outside_unless_told_otherwise() -> None:
    settings = ServerSettings()
    assert settings.host == "127.0.0.1"
    assert settings.allowed_origins == ()
    assert settings.shutdown_seconds > 0


def test_a_secret_that_could_be_guessed_is_refused_and_none_is_shown() -> None:
    with pytest.raises(ConfigError) as error:
        ServerSettings(gateway_secret="guess me")
    assert "guess me" not in str(error.value)
    assert "a secret" not in repr(ServerSettings(gateway_secret="a secret " * 5))
