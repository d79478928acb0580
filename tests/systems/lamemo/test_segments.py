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


def test_rows_of_like_length_are_read_together() -> None:
    """No row is read with one that is more than twice as long, but where both are short."""
    lengths = [1, 70, 32, 33, 64, 65, 40, 3, 128]
    ids = torch.arange(128 * len(lengths)).view(len(lengths), 128)
    pad = torch.tensor([128 - length for length in lengths])
    (given,) = in_segments(ids, pad, 128)
    parts = given.of_like_length()
    assert [one.rows for one in parts] == [[0, 2, 7], [1, 5, 8], [3, 4, 6]]
    for one in parts:
        assert one.rest.shape == (len(one.rows), max(one.counts))
        for place, row in enumerate(one.rows):
            own = one.rest[place, : one.counts[place]]
            assert torch.equal(own, ids[row, 128 - lengths[row] :])
    (same,) = in_segments(ids[:, -30:], None, 128)
    assert same.of_like_length() == [same]


def test_whole_segments_stay_with_their_rows() -> None:
    ids, pad = torch.arange(3 * 100).view(3, 100), torch.tensor([0, 30, 2])
    (given,) = in_segments(ids, pad, 60)
    first, second = given.of_like_length()
    assert (first.rows, second.rows) == ([0, 2], [1])
    assert torch.equal(first.whole[0], torch.stack([ids[0, :60], ids[2, 2:62]]))
    assert torch.equal(second.whole[0], ids[1:2, 30:90])
    assert torch.equal(second.rest, ids[1:2, 90:])
