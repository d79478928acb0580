"""What a merge leaves of counters."""

from __future__ import annotations

import torch

from memplus.config import CounterEviction
from memplus.memory.eviction import merged

RULE = CounterEviction(every=1, initial=3.0, decay=1.0)


def test_a_merge_takes_out_what_has_run_out_where_more_than_m_rows_are_left() -> None:
    after = merged(torch.tensor([1.0, 2.0, 3.0]), RULE, 1)
    assert after is not None
    assert after[0].tolist() == [0, 1, 2]
    assert after[1].tolist() == [False, True, True]


def test_where_too_few_would_be_left_nothing_changes() -> None:
    assert merged(torch.tensor([1.0, 2.0, 3.0]), RULE, 2) is None


def test_groups_count_as_often_as_they_have_rows() -> None:
    counters = torch.tensor([1.0, 2.0])
    assert merged(counters, RULE, 4, torch.tensor([9, 4])) is None
    assert merged(counters, RULE, 4, torch.tensor([9, 5])) is not None
