"""Groups of questions behind shared and own rows, against plain attention over all of them."""

from __future__ import annotations

import torch

from memplus.training.tasks.grouped_read import gather_rows


def test_rows_are_gathered_for_every_question() -> None:
    rows = torch.arange(24.0).view(6, 2, 2)
    indices = torch.tensor([[5, 0], [3, 3]])
    found = gather_rows(rows, indices)
    assert found.shape == (2, 2, 2, 2)
    for question, own in enumerate(indices.tolist()):
        for place, index in enumerate(own):
            assert found[question, place].equal(rows[index])
