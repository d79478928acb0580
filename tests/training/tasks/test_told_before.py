"""What earlier passes told: for how long it is remembered, and through a checkpoint."""

from __future__ import annotations

import torch

from memplus.training.tasks.told_before import EarlierQuestion, ToldBefore


def question(item: int, birth: int, index: int = 0) -> EarlierQuestion:
    return EarlierQuestion((0, item), index, birth, birth + 2)


def filled() -> ToldBefore:
    before = ToldBefore(2, rows=100)
    before.add(0, (0, 1), 0, 10, [question(1, 8), question(1, 8, 1)])
    before.add(0, (0, 2), 1, 60, [question(2, 58)])
    before.add(1, (1, 5), 0, 60, [])
    return before


def test_what_was_told_can_be_asked_until_its_rows_are_gone() -> None:
    before = filled()
    assert [one.key for one in before.questions(0)] == [(0, 1), (0, 1), (0, 2)]
    before.expire(109)
    assert before.knows(0, (0, 1))
    before.expire(110)
    assert not before.knows(0, (0, 1))
    assert [one.key for one in before.questions(0)] == [(0, 2)]
    before.clear()
    assert before.questions(0) == []
    assert not before.knows(1, (1, 5))


def test_only_the_last_telling_counts() -> None:
    before = filled()
    before.add(0, (0, 1), 1, 90, [question(1, 88)])
    assert [one.first for one in before.questions(0)] == [58, 88]
    assert before.begun(0) == []
    assert before.begun(1) == [(1, 5)]


def test_a_checkpoint_holds_all_of_it() -> None:
    before = filled()
    table = before.tensor()
    assert table.dtype == torch.int64
    again = ToldBefore(2, rows=100)
    again.restore(table)
    assert again.tensor().equal(table)
    for document in (0, 1):
        assert again.questions(document) == before.questions(document)
        assert again.begun(document) == before.begun(document)
    empty = ToldBefore(2, rows=100)
    again.restore(empty.tensor())
    assert again.questions(0) == []
