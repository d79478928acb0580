from __future__ import annotations

import pytest
import torch
from tests.fakes import EOS, make_tokenizer

from memplus.errors import EmptyTextError, TrainingStartError
from memplus.training.masked.example import Example, Piece
from memplus.training.masked.packing import IGNORED, Encoded, encode_example, pack_examples


def encoded(size: int, label: str = "a") -> Encoded:
    return Encoded(label, list(range(size)), [IGNORED, *range(1, size)])


def test_labels_are_ignored_exactly_outside_of_what_is_learned() -> None:
    pieces = (Piece("ask"), Piece("call", learned=True), Piece(""), Piece("res"), Piece("x", True))
    found = encode_example(Example("read", pieces), make_tokenizer())
    assert bytes(found.ids[:-1]).decode() == "askcallresx" or len(found.ids) == 12
    assert found.labels[:3] == [IGNORED] * 3
    assert found.labels[3:7] == found.ids[3:7]
    assert found.labels[7:10] == [IGNORED] * 3
    assert found.labels[10:] == found.ids[10:]
    assert found.ids[-1] == EOS
    open_ended = encode_example(Example("read", pieces, ends=False), make_tokenizer())
    assert open_ended.ids == found.ids[:-1]


def test_the_first_token_is_never_learned_since_nothing_predicts_it() -> None:
    found = encode_example(Example("a", (Piece("abc", learned=True),)), make_tokenizer())
    assert found.labels[0] == IGNORED
    assert found.labels[1:] == found.ids[1:]


def test_an_example_that_teaches_nothing_and_one_without_an_end_are_refused() -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(EmptyTextError):
        encode_example(Example("a", (Piece("abc"),), ends=False), tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(TrainingStartError, match="end of text"):
        encode_example(Example("a", (Piece("abc"),)), tokenizer)


def test_every_example_lies_whole_in_one_row() -> None:
    sizes = [9, 3, 5, 7, 2, 4]
    packed = pack_examples([encoded(size, "ab"[size % 2]) for size in sizes], row_tokens=12)
    assert packed.names == ("a", "b")
    assert packed.ids.shape[1] <= 12
    assert int((packed.owner >= 0).sum()) == sum(sizes)
    found = []
    for row in range(len(packed.ids)):
        for number in range(int(packed.owner[row].max()) + 1):
            place = packed.owner[row] == number
            size = int(place.sum())
            assert packed.ids[row][place].tolist() == list(range(size))
            assert packed.positions[row][place].tolist() == list(range(size))
            assert packed.labels[row][place].tolist() == [IGNORED, *range(1, size)]
            assert set(packed.kinds[row][place].tolist()) == {size % 2}
            found.append(size)
    assert sorted(found) == sorted(sizes)
    assert packed.labels[packed.owner < 0].eq(IGNORED).all()


def test_one_that_is_longer_than_a_row_makes_the_rows_longer() -> None:
    packed = pack_examples([encoded(20), encoded(6), encoded(6)], row_tokens=8)
    assert packed.ids.shape == (2, 20)


def test_a_token_sees_its_own_example_up_to_itself() -> None:
    packed = pack_examples([encoded(3), encoded(2)], row_tokens=8)
    seen = ~packed.blocked[0, 0]
    expected = torch.block_diag(torch.ones(3, 3).tril(), torch.ones(2, 2).tril()).bool()
    assert seen[:5, :5].equal(expected)
