"""Tables of rows: what forks share, and what they never see of each other."""

from __future__ import annotations

import pytest
import torch

from memplus.memory.rows import BLOCK_ROWS, RowTable


def table(count: int, start: int = 0) -> RowTable:
    return RowTable(rows(count, start))


def rows(count: int, start: int = 0) -> dict[str, torch.Tensor]:
    number = torch.arange(start, start + count)
    return {"a": number.float()[:, None].expand(count, 3).clone(), "b": number}


def test_appended_rows_follow_in_order_whatever_their_number() -> None:
    made = table(0)
    for start, count in ((0, 1), (1, 70), (71, 0), (71, 200)):
        made.append(rows(count, start))
    assert len(made) == 271
    assert made["b"].tolist() == list(range(271))
    assert torch.equal(made["a"][:, 1], torch.arange(271.0))


def test_forks_share_rows_until_both_append() -> None:
    first = table(3)
    first.append(rows(1, 3))
    second = first.fork()
    first.append(rows(2, 100))
    second.append(rows(2, 200))
    third = second.fork()
    second.append(rows(1, 300))
    assert first["b"].tolist() == [0, 1, 2, 3, 100, 101]
    assert second["b"].tolist() == [0, 1, 2, 3, 200, 201, 300]
    assert third["b"].tolist() == [0, 1, 2, 3, 200, 201]


def test_keeping_and_replacing_concern_one_table_alone() -> None:
    first = table(5)
    second = first.fork()
    second.keep(torch.tensor([True, False, True, False, True]))
    second.replace("b", second["b"] * 10)
    second.append(rows(1, 7))
    assert first["b"].tolist() == [0, 1, 2, 3, 4]
    assert second["b"].tolist() == [0, 20, 40, 7]
    assert second["a"][:, 0].tolist() == [0, 2, 4, 7]


def test_blocks_are_the_column_in_pieces_of_one_grid() -> None:
    made = table(BLOCK_ROWS + 5)
    pieces = list(made.blocks("b"))
    assert [len(piece) for piece in pieces] == [BLOCK_ROWS, 5]
    assert torch.equal(torch.cat(pieces), made["b"])
    assert [len(piece) for piece in table(0).blocks("b")] == [0]


def test_bytes_count_the_rows_in_use() -> None:
    made = table(1)
    made.append(rows(1, 1))  # grows to more room than is used
    assert made.nbytes == 2 * (3 * 4 + 8)


def test_rows_are_taken_by_index_as_copies() -> None:
    made = table(6)
    taken = made.take("b", torch.tensor([4, 0]))
    taken += 100
    assert made["b"].tolist() == [0, 1, 2, 3, 4, 5]
    assert taken.tolist() == [104, 100]
    assert made.between("b", 2, 4).tolist() == [2, 3]


@pytest.mark.parametrize("together", [1, 7, BLOCK_ROWS - 1, BLOCK_ROWS + 3])
def test_blocks_divide_no_rows_that_belong_together(together: int) -> None:
    made = table(3 * BLOCK_ROWS // together * together + together)
    pieces = list(made.blocks("b", together))
    assert all(len(piece) % together == 0 for piece in pieces)
    assert all(len(piece) <= max(BLOCK_ROWS, together) for piece in pieces)
    assert len(pieces) > 1
    assert torch.equal(torch.cat(pieces), made["b"])
