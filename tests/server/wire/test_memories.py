from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from memplus.server.principals import NAME_RULE
from memplus.server.wire.memories import (
    ForgetRequest,
    ForkRequest,
    NewMemory,
    Page,
    RollbackRequest,
)


@pytest.mark.parametrize(
    "name", ["ann", "Ann's notes", "åse", "a:b", "a@b", "..a", ". a", "...", "x", ".x", "x" * 200]
)
def test_names_that_a_memory_can_have(name: str) -> None:
    assert NewMemory(id=name).id == name
    assert ForkRequest.model_validate({"name": name}).id == name


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "/", "a\tb", "\x7f", "x" * 201, " ", " a", "a ", "\xa0a", ".. ", ". ", "..", "."],
)
def test_names_that_a_memory_cannot_have(name: str) -> None:
    for given in ({"id": name}, {"name": name}):
        with pytest.raises(ValidationError) as error:
            NewMemory.model_validate(given)
        assert error.value.errors()[0]["msg"] == NAME_RULE


@pytest.mark.parametrize(
    "metadata",
    [{"k" * 65: "v"}, {"": "v"}, {"k": "v" * 513}, {"k": None}, {str(n): "v" for n in range(17)}],
)
def test_metadata_is_bounded(metadata: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewMemory.model_validate({"metadata": metadata})


def test_fields_that_are_not_known_are_ignored() -> None:
    assert NewMemory.model_validate({"id": "a", "invented": 1}).id == "a"


def test_what_is_forgotten_is_named_in_bounds() -> None:
    assert ForgetRequest(write=[1, 2]).write == [1, 2]
    assert ForgetRequest(write=3).write == 3
    for bad in (
        {"write": []},
        {"write": list(range(10_001))},
        {"match": ""},
        {"match": "x" * 1001},
        {"write": True},
        {"write": 1.0},
        {"write": "1"},
        {"write": [1, True]},
    ):
        with pytest.raises(ValidationError):
            ForgetRequest.model_validate(bad)


@pytest.mark.parametrize("bad", [True, False, 1.0, "1"])
def test_what_is_counted_is_a_number(bad: object) -> None:
    for kind, field in (
        (RollbackRequest, "commit"), (RollbackRequest, "write"), (NewMemory, "max_bytes"),
        (NewMemory, "seed"),
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            kind.model_validate({field: bad})


def test_a_page_says_that_it_is_a_list() -> None:
    assert Page[int](data=[1]).model_dump() == {
        "object": "list", "data": [1], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip
