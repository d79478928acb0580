"""Spans of a file: whole, of one write each, and the same in every layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memplus.errors import CorruptMemoryError
from memplus.memory.span_checks import (
    require_alike,
    require_one_write_each,
    require_whole,
    require_whole_spans,
)

PATH = Path("a.memory")


def test_whole_spans_pass() -> None:
    require_whole(12, 4, PATH, "count")
    require_whole(0, 4, PATH, "count")
    require_alike([torch.arange(3), torch.arange(3)], PATH, "birth")
    require_one_write_each(torch.tensor([1, 1, 2, 2, 2, 2]), 2, PATH, "write_id")
    require_one_write_each(torch.tensor([], dtype=torch.int32), 2, PATH, "write_id")
    require_whole_spans(torch.tensor([[4, 6, 5, 7], [7, 6, 5, 4]]), 2, PATH, "drop.0")


def test_half_spans_and_layers_that_differ_are_named() -> None:
    with pytest.raises(CorruptMemoryError, match="count has 13 rows, not whole spans of 4"):
        require_whole(13, 4, PATH, "count")
    with pytest.raises(CorruptMemoryError, match="birth differs between layers"):
        require_alike([torch.arange(3), torch.arange(3) + 1], PATH, "birth")
    with pytest.raises(CorruptMemoryError, match="write_id divides a span"):
        require_one_write_each(torch.tensor([1, 2, 2, 2]), 2, PATH, "write_id")


@pytest.mark.parametrize("places", [[[5, 6]], [[4, 5, 6]], [[4, 6]], [[4, 5], [6, 7]]])
def test_places_that_are_no_whole_spans_are_named(places: list[list[int]]) -> None:
    with pytest.raises(CorruptMemoryError, match=r"drop\.0 does not name whole spans of 2 rows"):
        require_whole_spans(torch.tensor(places), 2, PATH, "drop.0")
