from __future__ import annotations

import torch
from tests.fakes import some_ids
from tests.systems.memlong.slow import tiny

from memplus.systems.memlong.lookup import gathered


@torch.no_grad()
def test_rows_stand_in_the_order_of_time_and_padding_behind_them() -> None:
    mechanism = tiny()
    state = mechanism.write(mechanism.empty(2), some_ids(2, 7))  # chunks of 4 and 3
    found = gathered(state.banks, [[1, 0], [1]])
    assert found is not None
    assert found.rows == 7
    first, second = (bank.rows["keys"].transpose(0, 1) for bank in state.banks)
    assert found.keys[0].equal(first)
    assert found.keys[1, :, :3].equal(second[:, 4:])
    assert not found.keys[1, :, 3:].any()
    assert found.there is not None
    assert found.there.sum(dim=1).tolist() == [7, 3]
    assert found.owners[0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found.owners[1, :3].tolist() == [0, 0, 0]


@torch.no_grad()
def test_rows_of_one_length_need_no_padding_and_none_are_none() -> None:
    mechanism = tiny()
    state = mechanism.write(mechanism.empty(2), some_ids(2, 8))
    found = gathered(state.banks, [[0], [1]])
    assert found is not None
    assert found.there is None
    assert gathered(state.banks, [[], []]) is None
