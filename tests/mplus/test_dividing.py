"""Over how many threads a model's products are divided."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from memplus.mplus.dividing import threads_for

SMALL = nn.Linear(500, 500, device="meta")
LARGE = nn.Linear(5000, 5000, device="meta")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(count)


def test_a_small_model_is_not_worth_dividing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_for(SMALL) == 1
    assert threads_for(LARGE) == 2


def test_who_set_a_count_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_for(SMALL) == threads_for(LARGE) == 2
