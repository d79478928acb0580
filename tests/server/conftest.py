from __future__ import annotations

import pytest

from memplus.mplus.model import MPlus


@pytest.fixture(scope="session")
def nano() -> MPlus:
    return MPlus.from_pretrained("nano").eval()
