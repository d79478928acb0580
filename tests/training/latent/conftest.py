from __future__ import annotations

import pytest

from memplus.systems.registry import SYSTEMS


@pytest.fixture(autouse=True)
def learner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy is a system of the registry."""
    monkeypatch.setitem(SYSTEMS, "learner", "tests.training.latent.toy:LearnerSystem")
