"""Rows of questions as tensors."""

from __future__ import annotations

import torch

from memplus.training.tasks.asked import IGNORED, AskedRow, Kind, asked_of


def test_the_answer_is_predicted_from_the_prompt_s_last_token_on() -> None:
    rows = [
        AskedRow(Kind.TOLD, (), (1, 2, 3), (4, 5), (6, 9)),
        AskedRow(Kind.UNTOLD, (7, 8), (1, 2), (9,)),
    ]
    asked = asked_of(rows, torch.device("cpu"))
    assert asked.ids.tolist() == [[1, 2, 3, 4], [7, 8, 1, 2]]
    assert asked.labels.tolist() == [[IGNORED, IGNORED, 4, 5], [IGNORED, IGNORED, IGNORED, 9]]
    assert asked.prompt.tolist() == [[True, True, True, False], [False, False, True, True]]
    assert asked.rows.tolist() == [[6, 9], [0, -1]]
    assert asked.kinds.tolist() == [Kind.TOLD, Kind.UNTOLD]


def test_shorter_rows_are_padded_on_the_right() -> None:
    rows = [
        AskedRow(Kind.TOLD, (), (1,), (2,)),
        AskedRow(Kind.TOLD, (), (1, 2, 3), (4, 5, 6)),
    ]
    asked = asked_of(rows, torch.device("cpu"))
    assert asked.ids.shape == (2, 5)
    assert asked.labels[0].tolist() == [2, *[IGNORED] * 4]
    assert not asked.prompt[0, 1:].any()


def test_rows_padded_on_the_left_end_together() -> None:
    rows = [
        AskedRow(Kind.TOLD, (7,), (1,), (2,)),
        AskedRow(Kind.TOLD, (), (1, 2, 3), (4, 5, 6)),
    ]
    asked = asked_of(rows, torch.device("cpu"), left=True)
    assert asked.pad is not None
    assert asked.pad.tolist() == [3, 0]
    assert asked.ids.tolist() == [[0, 0, 0, 7, 1], [1, 2, 3, 4, 5]]
    assert asked.labels[:, -1].tolist() == [2, 6]
    assert asked.prompt.tolist() == [[False] * 4 + [True], [True] * 3 + [False] * 2]
    assert asked_of(rows, torch.device("cpu")).pad is None
