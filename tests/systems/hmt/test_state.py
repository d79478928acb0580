from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from memplus.systems.hmt.state import HMTState, restored_state


def empty(rows: int = 1) -> HMTState:
    return HMTState(torch.zeros(rows, 0, 4), torch.zeros(rows, 0, dtype=torch.int64), (0,))


def followed(segments: int, rows: int = 1, kept: int = 3) -> HMTState:
    state = empty(rows)
    for index in range(segments):
        vector, sensory = torch.full((rows, 4), float(index)), torch.full((rows, 2), index)
        state = state.followed(vector, sensory, tokens=5, kept=kept)
    return state


def restore(tensors: dict[str, Tensor]) -> HMTState:
    return restored_state(tensors, empty(), kept=3, sensory=2, vocabulary=10)


def test_the_newest_vectors_stay_with_the_tokens_that_they_are_of() -> None:
    state = followed(5)
    assert state.cache[0, :, 0].tolist() == [2, 3, 4]
    assert state.sensory.tolist() == [[4, 4]]
    assert state.bounds == (10, 15, 20, 25)
    assert state.tokens == 25
    assert followed(1).bounds == (0, 5)


def test_its_size_is_that_of_its_tensors_and_stops_growing() -> None:
    state = followed(3)
    assert state.nbytes == 4 * 3 * 4 + 8 * 2 + 8 * 4
    assert followed(9).nbytes == state.nbytes


def test_repeated_and_detached_it_holds_the_same() -> None:
    state = followed(2)
    several = state.repeated(3)
    assert several.cache.shape == (3, 2, 4)
    assert several.sensory.shape == (3, 2)
    assert several.cache[2].equal(state.cache[0])
    learned = HMTState(state.cache.clone().requires_grad_(), state.sensory, state.bounds)
    assert not learned.detached().cache.requires_grad
    assert learned.detached().bounds == state.bounds


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("segments", [0, 1, 5])
def test_it_comes_back_from_its_tensors(segments: int, rows: int) -> None:
    state = followed(segments, rows)
    found = restore(dict(state.tensors))
    assert found.bounds == state.bounds
    assert found.cache.equal(state.cache)
    assert found.sensory.equal(state.sensory)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("cache", None, "cache is missing"),
        ("other", torch.zeros(1), "other"),
        ("cache", torch.zeros(1, 3, 4, dtype=torch.bfloat16), "cache is of torch.bfloat16"),
        ("cache", torch.zeros(1, 4, 4), r"cache is \[1, 4, 4\]"),
        ("cache", torch.zeros(1, 3, 5), r"cache is \[1, 3, 5\]"),
        ("cache", torch.zeros(3, 4), "cache is"),
        ("cache", torch.full((1, 3, 4), torch.nan), "cache holds"),
        ("sensory", torch.zeros(1, 3, dtype=torch.int64), r"sensory is \[1, 3\]"),
        ("sensory", torch.zeros(2, 2, dtype=torch.int64), r"sensory is \[2, 2\]"),
        ("sensory", torch.full((1, 2), 10), "sensory holds"),
        ("sensory", torch.full((1, 2), -1), "sensory holds"),
        ("bounds", torch.tensor([0, 5]), r"bounds is \[2\]"),
        ("bounds", torch.tensor([0, 5, 5, 9]), "bounds do not rise"),
        ("bounds", torch.tensor([-1, 5, 6, 9]), "bounds do not rise"),
        ("sensory", torch.zeros(1, 1, dtype=torch.int64), "sensory has 1 tokens of a segment of 5"),
        ("cache", torch.zeros(1, 2, 4), "bounds is"),
    ],
)
def test_other_tensors_are_refused_by_name(name: str, tensor: Any, said: str) -> None:
    tensors = dict(followed(5).tensors)
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    with pytest.raises(ValueError, match=said):
        restore(tensors)


def test_where_no_vector_has_left_the_first_is_of_the_first_token() -> None:
    for state in (followed(0), followed(2)):
        tensors = dict(state.tensors)
        tensors["bounds"] = tensors["bounds"] + 3
        with pytest.raises(ValueError, match="bounds begin at 3"):
            restore(tensors)
    with pytest.raises(ValueError, match="sensory has 2 tokens of a segment of 0"):
        restore({**followed(0).tensors, "sensory": torch.zeros(1, 2, dtype=torch.int64)})
