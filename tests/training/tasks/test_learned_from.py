from __future__ import annotations

import torch

from memplus.training.tasks.asked import Asked, AskedRow, Kind, asked_of
from memplus.training.tasks.learned_from import QUESTION_TOKENS, LearnedFrom


def rows() -> Asked:
    """A question of two tokens behind a tail of three, and one of a single token."""
    one = AskedRow(Kind.TOLD, (1, 2, 3), (4, 5), (6, 7, 8))
    return asked_of([one, AskedRow(Kind.UNTOLD, (), (1,), (2,))], torch.device("cpu"))


def test_tokens_are_those_of_questions_and_answers_without_tails_and_padding() -> None:
    assert rows().tokens == 5 + 2


def test_passes_are_added_up_for_all_processes() -> None:
    """A process has two of a batch of six documents; figures are of one document."""
    found = LearnedFrom(6)
    found.add(100, None, 2, {})
    found.add(40, rows(), 2, {QUESTION_TOKENS: 7 / 2})
    assert found.counts == {"text_tokens": 6 * 140, "question_tokens": 21, "questions": 6}
