"""The benchmarks by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.evaluation.tasks.registry import TASKS, task_class


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="task cannot be 'recall'"):
        task_class("recall")
    for name in TASKS:
        assert task_class(name).name == name


def line(kind: str, wanted: int, said: str, *, right: bool) -> dict[str, Any]:
    """As a run records an answer, with all that any task looks at."""
    return {
        "key": "1/given", "kind": kind, "wanted": wanted, "said": said, "answers": ["red"],
        "right": right, "credit": float(right), "declined": False, "seconds": 0.5, "bytes": 8,
        "scores": [[-8.0 if right else -16.0, 4]],
    }  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_headline_is_one_figure_of_every_line_whatever_its_kind_and_length(name: str) -> None:
    task = task_class(name)()
    lines = [line("a", 0, "It is red.", right=True), line("b", 9, "No.", right=False)]
    (found,) = task.headline(lines)
    assert (found.asked, found.wanted) == (2, None)
    expected = math.exp(24 / 8) if name == "perplexity" else 0.5
    assert found.value == pytest.approx(expected)
    assert task.headline([]) == []


@pytest.mark.parametrize(
    ("name", "kind"), [("retention", "never told"), ("locomo", "adversarial"),
                       ("longmemeval", "abstention")],
)  # fmt: skip
def test_what_is_to_be_declined_is_in_no_headline(name: str, kind: str) -> None:
    (found,) = task_class(name)().headline(
        [line("a", 0, "red", right=True), line(kind, 0, "red", right=False)]
    )
    assert (found.asked, found.value) == (1, 1.0)
