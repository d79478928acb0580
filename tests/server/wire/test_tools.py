from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from memplus.server.wire.tools import (
    AddMemory,
    AskMemory,
    ForgetIn,
    GetMemory,
    ListMemories,
    SearchMemories,
)


@pytest.mark.parametrize(
    ("kind", "given", "field", "value"),
    [
        (AddMemory, {"content": "a"}, "text", "a"),
        (AddMemory, {"text": "a", "user_id": "ann"}, "memory", "ann"),
        (SearchMemories, {"q": "a"}, "query", "a"),
        (SearchMemories, {"text": "a", "top_k": 3}, "limit", 3),
        (AskMemory, {"query": "a"}, "question", "a"),
        (ListMemories, {"cursor": "ann"}, "after", "ann"),
        (GetMemory, {"id": "ann"}, "memory", "ann"),
        (ForgetIn, {"memory": "ann", "query": "a"}, "match", "a"),
        (ForgetIn, {"memory": "ann", "write_id": 3}, "write", 3),
    ],
)
def test_names_that_models_guess_are_taken(
    kind: Any, given: dict[str, Any], field: str, value: Any
) -> None:
    assert getattr(kind.model_validate(given), field) == value


def test_the_schema_tells_the_proper_names_alone() -> None:
    assert set(AddMemory.model_json_schema()["properties"]) == {"text", "memory", "source"}
    assert SearchMemories.model_json_schema()["required"] == ["query"]
    assert ForgetIn.model_json_schema()["required"] == ["memory"]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (AddMemory, {"text": ""}),
        (SearchMemories, {"query": "a", "limit": 21}),
        (ForgetIn, {}),
        *((ForgetIn, {"memory": "ann", "write": bad}) for bad in (True, 3.0, "3")),
    ],
)
def test_arguments_are_in_bounds(kind: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(given)
