"""What is kept, what leaves a full bank, and that a bank never changes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from memplus.systems.memlong.bank import Bank, Piece, Room, chunk_lengths, staying

ROOM = Room(40, "counters")


def empty(*, words: bool = False) -> Bank:
    return Bank.empty(torch.zeros(0, 2, 3), 4, words=words)


def piece(tokens: int, number: float, chunk: int = 4) -> Piece:
    rows = torch.full((tokens, 2, 3), float(number))
    lengths = chunk_lengths(tokens, chunk)
    vectors = torch.full((len(lengths), 4), float(number))
    ids = torch.full((tokens,), int(number), dtype=torch.int32)
    return Piece(rows, -rows, ids, vectors, vectors[0], lengths)


def filled(*tokens: int, room: Room = ROOM, words: bool = False) -> Bank:
    bank = empty(words=words)
    for number, count in enumerate(tokens):
        bank = bank.put(piece(count, number), room)
    return bank


def kept(lengths: Sequence[int], counters: Sequence[int], coming: int, room: Room) -> list[int]:
    stays = staying(torch.tensor(lengths), torch.tensor(counters), coming, room)
    return stays.nonzero().flatten().tolist()


def test_a_text_is_cut_into_chunks_and_a_short_last_one_stays_short() -> None:
    assert chunk_lengths(11, 4) == [4, 4, 3]
    assert chunk_lengths(3, 4) == [3]
    bank = filled(8, 11)
    assert bank.lengths == [4, 4, 4, 4, 3]
    assert bank.chunks["starts"].tolist() == [0, 4, 8, 12, 16]
    assert bank.places == [0, 4, 8, 12, 16]
    assert bank.written == 19


def test_chunks_are_found_by_where_they_begin_once_others_have_left() -> None:
    bank = filled(8, 8, 8, room=Room(16, "fifo"))
    assert bank.chunks["starts"].tolist() == [8, 12, 16, 20]
    assert bank.beginning_at({0, 12, 20, 24}) == [1, 3]
    assert bank.beginning_at(set()) == []


def test_all_stay_while_there_is_room() -> None:
    assert kept([4] * 9, [0] * 9, 4, ROOM) == list(range(9))
    assert kept([], [], 99, ROOM) == []


def test_the_newest_tenth_stays_whatever_its_counter_and_the_oldest_goes() -> None:
    room = Room(80, "counters")
    counters = [9] * 2 + [3, 0, 5, 0, 4, 1, 6, 2, 0, 0, 0, 7, 8, 0, 9, 1] + [0, 0]
    # 20 chunks of 4 in a bank of 80: 0 and 1 go, 18 and 19 stay, eight of the others stay.
    assert kept([4] * 20, counters, 4, room) == [2, 4, 6, 8, 9, 13, 14, 16, 18, 19]


def test_of_chunks_retrieved_as_often_the_older_leave_first() -> None:
    assert kept([4] * 10, [0] * 10, 4, ROOM) == [5, 6, 7, 8, 9]


def test_the_older_half_leaves_where_the_published_code_is_followed() -> None:
    room = Room(40, "fifo")
    assert kept([4] * 10, [9] * 5 + [0] * 5, 4, room) == [5, 6, 7, 8, 9]
    assert kept([40], [1], 4, room) == []


def test_the_oldest_go_on_leaving_until_there_is_room() -> None:
    assert kept([4] * 10, [0] * 10, 32, ROOM) == [8, 9]
    assert kept([4] * 10, [0] * 10, 40, ROOM) == []
    assert kept([20, 20], [5, 0], 10, ROOM) == [1]


def test_rows_leave_with_their_chunks_though_chunks_differ_in_length() -> None:
    bank = filled(11, 11, 11, 5, 11)
    rows = bank.rows["keys"][:, 0, 0].split(bank.lengths)
    vectors = bank.chunks["embeddings"][:, 0]
    assert len(bank) < 14
    assert all((one == vector).all() for one, vector in zip(rows, vectors, strict=True))
    assert bank.rows["values"].equal(-bank.rows["keys"])
    assert bank.written == 49
    assert int(bank.chunks["starts"][-1]) == 46


def test_counters_go_with_their_chunks() -> None:
    bank = filled(20, 20).counted([7, 3]).counted([7])
    assert bank.counters.tolist() == [0, 0, 0, 1, 0, 0, 0, 2, 0, 0]
    later = bank.put(piece(4, 5), ROOM)
    assert later.counters.tolist() == [1, 0, 2, 0, 0, 0]
    assert later.chunks["starts"].tolist() == [12, 24, 28, 32, 36, 40]


def test_a_write_leaves_the_bank_as_it_was_and_copies_of_it_go_their_own_ways() -> None:
    bank = filled(8)
    before = {name: one.clone() for name, one in bank.tensors.items()}
    one, other = bank.put(piece(4, 5), ROOM), bank.put(piece(4, 6), ROOM)
    one.counted([0])
    filled_up = one.put(piece(36, 7), ROOM)
    assert all(bank.tensors[name].equal(tensor) for name, tensor in before.items())
    assert one.rows["keys"][-1, 0, 0] == 5
    assert other.rows["keys"][-1, 0, 0] == 6
    assert one.rows["keys"].data_ptr() == bank.rows["keys"].data_ptr() or len(one) == 3
    assert filled_up.rows["keys"][-1, 0, 0] == 7
    assert one.counters.tolist() == [0, 0, 0]


def test_rows_are_shared_by_what_comes_of_one_text() -> None:
    bank = filled(8)  # room for 64 rows is made at once
    assert bank.put(piece(4, 5), ROOM).rows["keys"].data_ptr() == bank.rows["keys"].data_ptr()


def test_its_bytes_are_those_of_its_tensors() -> None:
    bank = filled(8, 11)
    rows, chunks = 19 * 2 * 2 * 3 * 4, 5 * (4 * 4 + 8 + 8 + 8)
    assert bank.nbytes == rows + chunks + 4 * 4 + 8


def test_words_are_kept_where_they_are_asked_for() -> None:
    assert [*filled(5, 4, words=True).texts()] == [[0] * 4, [0], [1] * 4]
    assert "ids" not in filled(5).tensors


def test_rows_of_chunks_one_after_another() -> None:
    bank = filled(6, 4)
    assert bank.rows_of([2, 0]).tolist() == [6, 7, 8, 9, 0, 1, 2, 3]
    assert bank.rows_of([]).tolist() == []


def test_directions_are_of_unit_length_about_the_mean_in_units_of_the_spread() -> None:
    bank = filled(4, 4, 4)
    bank.chunks["embeddings"][:, 1] *= 1000
    assert torch.allclose(bank.directions, torch.tensor([[-0.5], [0.0], [0.5]]).expand(3, 4))
    assert torch.allclose(
        bank.direction(torch.tensor([2.0, 0, 1, 1])).abs().max(), torch.tensor(0.5**0.5)
    )
    alone = filled(4)
    assert not alone.directions.any()


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("keys", torch.zeros(7, 2, 3), "values"),
        ("keys", torch.zeros(8, 2, 3, dtype=torch.float16), "keys is torch.float16"),
        ("embeddings", torch.zeros(2, 5), "embeddings"),
        ("lengths", torch.tensor([4, 5]), "lengths"),
        ("lengths", torch.tensor([8, 0]), "lengths"),
        ("starts", torch.tensor([4, 0]), "starts"),
        ("written", torch.tensor([7]), "starts"),
        ("counters", torch.tensor([0, -1]), "counters"),
        ("counters", torch.tensor([0]), "counters"),
        ("before", torch.zeros(2, 2), "before"),
        ("before", torch.zeros(5), r"before is \[5\]"),
        ("before", torch.zeros(0), r"before is \[0\]"),
        ("before", torch.zeros(4, dtype=torch.int64), "before is"),
        ("starts", torch.tensor([-4, 0]), "starts"),
        ("other", torch.zeros(1), "other"),
    ],
)
def test_tensors_that_contradict_each_other_are_refused(
    name: str, wrong: Tensor, said: str
) -> None:
    tensors = filled(8).tensors
    assert Bank.restored(empty(), tensors).lengths == [4, 4]
    with pytest.raises(ValueError, match=said):
        Bank.restored(empty(), {**tensors, name: wrong})
    del tensors["values"]
    with pytest.raises(ValueError, match="values"):
        Bank.restored(empty(), tensors)
