"""Sequences of which only what is asked for is made."""

from __future__ import annotations

import pytest

from memplus.errors import ConfigError
from memplus.training.tasks.endless import EndlessItems


def test_items_are_made_when_asked_for_and_kept() -> None:
    made: list[int] = []

    def make(index: int, attempt: int) -> str:
        made.append(index)
        return f"{index}/{attempt}"

    items = EndlessItems("facts", make, ["a", "b", "c"])
    assert not made
    assert len(items) >= 1_000_000
    assert items[5] == items[5] == "5/0"
    assert made == [5]
    assert items[-1] == f"{len(items) - 1}/0"
    assert items[2:4] == ["2/0", "3/0"]
    with pytest.raises(IndexError):
        items[len(items)]


def test_what_is_kept_has_a_bound() -> None:
    made: list[int] = []
    items = EndlessItems("facts", lambda index, _: made.append(index) or index, ["a"])
    for index in range(20_000):
        assert items[index] == index
    assert items[0] == 0
    assert items[19_999] == 19_999
    assert len(made) == 20_001


def test_topics_follow_from_the_index() -> None:
    items = EndlessItems("facts", lambda index, _: index, ["a", "b", "c"])
    assert list(items.of_topic("b")[:3]) == [1, 4, 7]
    assert items.of_topic("b")[-1] < len(items)
    assert sum(len(items.of_topic(one)) for one in "abc") == len(items)
    assert not items.of_topic("d")


def test_another_item_stands_for_one_that_is_too_long() -> None:
    items = EndlessItems(
        "facts", lambda index, attempt: attempt if attempt > index else None, ["a"]
    )
    assert items[:3] == [1, 2, 3]
    with pytest.raises(ConfigError, match="facts"):
        items[100_000]
