from __future__ import annotations

import re

import jsonschema
import pytest

from memplus.server.tools import SEARCH_AND_FETCH, TOOLS, Tool

ALL = (*TOOLS, *SEARCH_AND_FETCH)


def test_names_are_short_and_each_stands_for_one_tool() -> None:
    names = [tool.name for tool in ALL]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]{3,20}", name) for name in names)


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_schemas_are_schemas_of_objects_and_ask_for_no_identity(tool: Tool) -> None:
    for schema in (tool.takes.model_json_schema(), tool.gives.model_json_schema()):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
    taken = set(tool.takes.model_json_schema()["properties"])
    assert not taken & {"user", "user_id", "tenant", "key", "api_key"}


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_what_destroys_is_no_reading(tool: Tool) -> None:
    assert not (tool.reads and tool.destroys)
    assert tool.repeatable or not tool.reads
