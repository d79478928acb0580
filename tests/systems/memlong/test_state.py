from __future__ import annotations

import pytest
import torch
from tests.fakes import some_ids
from tests.systems.memlong.slow import tiny

from memplus.systems.memlong.state import MemLongState


@torch.no_grad()
def two_rows() -> MemLongState:
    mechanism = tiny()
    return mechanism.write(mechanism.empty(2), some_ids(2, 8))


def test_one_state_asked_many_times_is_copied_nowhere() -> None:
    state = tiny().empty(1)
    many = state.repeated(3)
    assert many.banks == state.banks * 3
    assert state.detached() is state


def test_tensors_of_several_rows_have_the_rows_number() -> None:
    state = two_rows()
    assert "1.keys" in state.tensors
    assert state.nbytes == sum(one.nbytes for one in state.tensors.values())
    one = MemLongState(state.banks[:1])
    assert "keys" in one.tensors
    like = tiny().empty(1).banks[0]
    assert len(MemLongState.restored(like, state.tensors).banks) == 2
    assert len(MemLongState.restored(like, one.tensors).banks) == 1


def test_rows_are_counted_apart() -> None:
    counted = two_rows().counted([[0], [1]])
    assert [bank.counters.tolist() for bank in counted.banks] == [[1, 0], [0, 1]]


def test_rows_that_are_not_all_there_are_refused() -> None:
    tensors = {name: one for name, one in two_rows().tensors.items() if name.startswith("1.")}
    like = tiny().empty(1).banks[0]
    with pytest.raises(ValueError, match="no row"):
        MemLongState.restored(like, tensors)
    with pytest.raises(ValueError, match="missing"):
        MemLongState.restored(like, {})
