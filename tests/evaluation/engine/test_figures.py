"""Figures of lines, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from memplus.evaluation.engine.figures import best_f1, means, shares
from memplus.evaluation.engine.summary import wilson


def line(said: str, *, right: bool, wanted: int | None = 0, kind: str = "note") -> dict[str, Any]:
    return {
        "kind": kind,
        "wanted": wanted,
        "said": said,
        "answers": ["a red gate"],
        "right": right,
        "declined": not said,
        "seconds": 0.5,
        "bytes": 100,
    }


def test_shares_are_counted_by_kind_and_length_with_wilsons_interval() -> None:
    lines = [line("a red gate", right=True), line("", right=False), line("x", right=True, wanted=9)]
    near, far = shares(lines)
    assert (near.kind, near.wanted, near.measure, near.asked) == ("note", 0, "right", 2)
    assert (near.value, near.declined, near.seconds, near.bytes) == (0.5, 0.5, 0.5, 100)
    assert (near.low, near.high) == wilson(1, 2)
    assert (far.wanted, far.value) == (9, 1.0)


def test_means_carry_the_interval_of_their_spread() -> None:
    lines = [line("a red gate", right=True), line("a gate", right=False)]
    (found,) = means(lines, "F1", best_f1)
    assert found.value == pytest.approx((1 + 0.8) / 2)
    assert found.low < found.value < found.high
    assert found.measure == "F1"
