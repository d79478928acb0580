import pytest
import torch

from memplus.systems.hmt.padded import Padded, spans

IDS = torch.tensor([[9, 9, 1, 2, 3], [4, 5, 6, 7, 8]])
PAD = torch.tensor([2, 0])


def texts(padded: Padded) -> list[list[int]]:
    pad = [0] * len(padded.ids) if padded.pad is None else padded.pad.tolist()
    return [row[count:] for row, count in zip(padded.ids.tolist(), pad, strict=True)]


def test_padding_is_none_of_the_text() -> None:
    padded = Padded.of(IDS, PAD)
    assert texts(padded) == [[1, 2, 3], [4, 5, 6, 7, 8]]
    assert padded.visible is not None
    assert padded.visible.tolist() == [[False, False, True, True, True], [True] * 5]
    assert Padded.of(IDS, torch.zeros(2, dtype=torch.int64)).pad is None
    assert Padded(IDS).visible is None


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_the_first_tokens_are_those_of_each_row(count: int) -> None:
    assert texts(Padded.of(IDS, PAD).first(count)) == [[1, 2, 3][:count], [4, 5, 6, 7, 8][:count]]
    assert texts(Padded(IDS).first(count)) == [row[:count] for row in IDS.tolist()]


def test_columns_are_cut_whatever_stands_in_them() -> None:
    assert texts(Padded.of(IDS, PAD).columns(3)) == [[1], [4, 5, 6]]
    assert texts(Padded.of(IDS, PAD).columns(1)) == [[], [4]]


def test_spans_of_several_lengths_end_in_one_column() -> None:
    found = spans(IDS, torch.tensor([2, 1]), torch.tensor([3, 4]))
    assert texts(found) == [[1], [5, 6, 7]]
    assert found.ids[:, -1].tolist() == [1, 7]
    empty = spans(IDS, torch.tensor([2, 1]), torch.tensor([2, 3]))
    assert texts(empty) == [[], [5, 6]]
