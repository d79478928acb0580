"""Fields of a file: kinds and bounds, each error with the field's name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from pydantic import Field

from memplus.errors import CorruptMemoryError
from memplus.memory.checks import (
    Count,
    Fields,
    Items,
    Record,
    Text,
    Time,
    Token,
    checked,
    parsed,
    require_generator,
    require_positions,
    require_tensor,
    require_within,
    require_writes,
)

PATH = Path("a.memory")


class Sample(Fields):
    writes: Items[Record] = Field(default_factory=list)
    sources: dict[Text, Count] = Field(default_factory=dict)
    tail: Items[Token] = Field(default_factory=list)
    when: Time = 0.0


def test_what_is_in_bounds_is_taken_as_it_is() -> None:
    assert checked(Sample, {}, PATH, "sample") == Sample()
    odd = {"writes": [[1, "a", 0, 3], [2, "caf\udce9", 3, 0]], "sources": {"caf\udce9": 2**48}}
    found = checked(Sample, odd | {"tail": [0, 2**31 - 1], "when": 3}, PATH, "sample")
    assert found.writes == [(1, "a", 0, 3), (2, "caf\udce9", 3, 0)]
    assert (found.sources, found.tail, found.when) == (odd["sources"], [0, 2**31 - 1], 3.0)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (None, "sample is None"),
        ([], r"sample is \[\]"),
        ({"writes": None}, "sample.writes is None"),
        ({"writes": [[1, "a", 0, 3], [0, "a", 0, 3]]}, r"sample\.writes\.1\.0 is 0"),
        ({"writes": [[True, "a", 0, 3]]}, r"sample\.writes\.0\.0 is True"),
        ({"writes": [[1, 5, 0, 3]]}, r"sample\.writes\.0\.1 is 5"),
        ({"writes": [[1, "a", 0.0, 3]]}, r"sample\.writes\.0\.2 is 0\.0"),
        ({"writes": [[1, "a", 0]]}, r"sample\.writes\.0\.3 is missing"),
        ({"tail": [2**31]}, r"sample\.tail\.0 is 2147483648"),
        ({"sources": {"a": -1}}, r"sample\.sources\.a is -1"),
        ({"when": float("inf")}, "sample.when is inf"),
        ({"more": 1}, "sample.more is not a known field"),
    ],
)
def test_what_is_out_of_bounds_is_named(values: object, named: str) -> None:
    with pytest.raises(CorruptMemoryError, match=named) as caught:
        checked(Sample, values, PATH, "sample")
    assert "a.memory" in str(caught.value)


def test_a_million_wrong_items_are_one_error_at_once() -> None:
    begun = time.monotonic()
    with pytest.raises(CorruptMemoryError, match=r"tail\.0 is -1"):
        checked(Sample, {"tail": [-1] * 1_000_000}, PATH, "sample")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"9" * 9999, b"nul"])
def test_what_is_no_json_is_named(content: bytes) -> None:
    with pytest.raises(CorruptMemoryError, match="its header is not JSON"):
        parsed(content, PATH, "header")


def test_json_without_a_bottom_is_named() -> None:
    with pytest.raises(CorruptMemoryError, match="its header is nested too deep"):
        parsed(b'{"a":' * 100_000, PATH, "header")


def test_tensors_have_the_dtype_and_shape_that_is_asked_for() -> None:
    tensors = {"a": torch.zeros(3, 4)}
    assert require_tensor(tensors, "a", PATH, (), (None, 4)) is tensors["a"]
    for name, dtypes, shape, named in (
        ("b", (), (3, 4), "b is missing"),
        ("a", (torch.int32,), (3, 4), "a has the dtype torch.float32, not torch.int32"),
        ("a", (), (3, 5), r"a has the shape \[3, 4\], not \[3, 5\]"),
        ("a", (), (None,), r"not \[any\]"),
    ):
        with pytest.raises(CorruptMemoryError, match=named):
            require_tensor(tensors, name, PATH, dtypes, shape)


def test_numbers_positions_ids_and_generators() -> None:
    require_within(torch.tensor([], dtype=torch.int64), PATH, "a", 0, 0)
    require_within(torch.tensor([0, 5]), PATH, "a", 0, 5)
    with pytest.raises(CorruptMemoryError, match="a holds 6, not 0 to 5"):
        require_within(torch.tensor([0, 6]), PATH, "a", 0, 5)
    require_positions(torch.tensor([[1, 0], [0, 1]]), PATH, "a")
    with pytest.raises(CorruptMemoryError, match="each of 2 positions once"):
        require_positions(torch.tensor([[1, 0], [1, 1]]), PATH, "a")
    require_writes([4, 5], PATH, "a", after=3)
    with pytest.raises(CorruptMemoryError, match="a is 6 where write 5 follows"):
        require_writes([4, 6], PATH, "a", after=3)
    state = torch.Generator().manual_seed(5).get_state()
    assert torch.equal(require_generator({"generator": state}, PATH), state)
    for wrong in (torch.zeros_like(state), torch.full_like(state, 255), state[:-1]):
        with pytest.raises(CorruptMemoryError, match="generator"):
            require_generator({"generator": wrong}, PATH)
