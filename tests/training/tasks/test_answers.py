from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from memplus.training.tasks.answers import answer_losses
from memplus.training.tasks.asked import IGNORED, AskedRow, Kind, asked_of

ROWS = [
    AskedRow(Kind.TOLD, (), (1, 2), (3, 4)),
    AskedRow(Kind.CONTINUED, (), (5,), (6, 7, 8)),
    AskedRow(Kind.UNTOLD, (), (1,), (9,)),
    AskedRow(Kind.EARLIER, (), (1, 2, 3), (4,)),
]


def test_a_document_s_loss_is_that_of_its_answers_and_a_part_of_its_pieces() -> None:
    asked = asked_of(ROWS, torch.device("cpu"))
    there = asked.labels != IGNORED
    logits = torch.randn(int(there.sum()), 12, generator=torch.Generator().manual_seed(0))
    seen = torch.ones(4, dtype=torch.bool)
    loss, figures = answer_losses(logits, asked, seen, 2)
    each = functional.cross_entropy(logits, asked.labels[there], reduction="none")
    assert loss[0].item() == pytest.approx(float(each[:2].mean() + 0.3 * each[2:5].mean()))
    assert loss[1].item() == pytest.approx(float(each[5:].mean()))
    assert figures["loss.answers"].item() == pytest.approx(float(each[[0, 1, 6]].mean()))
    assert figures["loss.continued"].item() == pytest.approx(float(each[2:5].mean()))


def test_what_is_not_seen_teaches_nothing_and_right_is_right_to_the_letter() -> None:
    asked = asked_of(ROWS, torch.device("cpu"))
    labels = asked.labels[asked.labels != IGNORED]
    logits = functional.one_hot(labels, 12).float() * 20
    logits[1] = 0.0  # the told answer's last token is wrong
    seen = torch.tensor([True, True, True, False])
    loss, figures = answer_losses(logits, asked, seen, 4)
    assert loss[3] == 0
    assert loss[0] > 1
    assert figures["right"] == 0
    assert figures["declined"] == 1
    assert bool(figures["right.earlier"].isnan())


def test_padding_on_the_left_changes_no_loss() -> None:
    right, left = (asked_of(ROWS, torch.device("cpu"), left=side) for side in (False, True))
    logits = torch.randn(7, 12, generator=torch.Generator().manual_seed(1))
    seen = torch.ones(4, dtype=torch.bool)
    one, two = (answer_losses(logits, asked, seen, 2)[0] for asked in (right, left))
    assert one.equal(two)
