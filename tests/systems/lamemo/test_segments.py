"""Rows of a padded batch as segments."""

import torch

from memplus.systems.lamemo.segments import in_segments


def test_rows_of_as_many_segments_go_together() -> None:
    ids = torch.arange(1, 34).view(3, 11)
    groups = in_segments(ids, torch.tensor([0, 7, 1]), 4)
    assert [(one.rows, one.counts) for one in groups] == [([0, 2], [3, 2]), ([1], [4])]
    first, second = groups
    assert [one.tolist() for one in first.whole] == [
        [[1, 2, 3, 4], [24, 25, 26, 27]],
        [[5, 6, 7, 8], [28, 29, 30, 31]],
    ]
    assert first.rest.tolist() == [[9, 10, 11], [32, 33, 0]]
    assert second.whole == []
    assert second.rest.tolist() == [[19, 20, 21, 22]]


def test_without_padding_all_rows_are_one_group() -> None:
    (only,) = in_segments(torch.zeros(2, 8, dtype=torch.long), None, 4)
    assert only.rows == [0, 1]
    assert len(only.whole) == 1
    assert only.counts == [4, 4]
