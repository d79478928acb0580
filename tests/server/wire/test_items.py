from __future__ import annotations

from typing import Any

import pytest

from memplus.server.faults import RequestFault
from memplus.server.prompts import Message
from memplus.server.wire.items import items_of, messages_of, paged, references, said_item


def test_an_input_becomes_items_and_items_become_messages() -> None:
    assert items_of(None, "input") == []
    (one,) = items_of("Hi", "input")
    assert one["content"] == [{"type": "input_text", "text": "Hi"}]
    given = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        said_item("msg_1", "Yes.", "completed", []),
    ]
    items = items_of(given, "input")
    assert len({one["id"] for one in items}) == 3
    assert [one["role"] for one in items] == ["developer", "user", "assistant"]
    assert items[2]["content"][0]["annotations"] == []
    said = [("system", "Be brief.", b""), ("user", "Hi", b"link"), ("assistant", "Yes.", b"")]
    expected = [Message(r, t, one["id"], link) for (r, t, link), one in zip(said, items)]
    assert messages_of(items, {items[1]["id"]: b"link"}) == expected


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "function_call_output"}, "input.0"),
        ({"type": "item_reference", "id": "x"}, "input.0.id"),
        ({"type": "item_reference", "id": ["x"]}, "input.0.id"),
        ({"type": "item_reference"}, "input.0.id"),
        ("text", "input.0"),
        ({"role": "tool", "content": "x"}, "input.0.role"),
        ({"role": []}, "input.0.role"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input.0.content"),
        ({"role": "user", "content": [{"type": {}}]}, "input.0.content"),
    ],
)
def test_what_is_no_message_of_text_is_refused_where_it_stands(given: Any, param: str) -> None:
    with pytest.raises(RequestFault) as error:
        items_of([given], "input")
    assert error.value.fault.param == param


def test_a_list_is_paged_in_both_orders() -> None:
    items = [{"id": id} for id in "abcd"]
    page = paged(items, None, 3, "asc")
    assert [one["id"] for one in page["data"]] == ["a", "b", "c"]
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("a", "c", True)
    page = paged(items, "c", 3, "asc")
    assert [one["id"] for one in page["data"]] == ["d"]
    assert not page["has_more"]
    assert [one["id"] for one in paged(items, "c", 9, "desc")["data"]] == ["b", "a"]
    assert paged([], None, 3, "asc")["first_id"] is None
    for bad in ((None, 0, "asc"), (None, 101, "asc"), (None, 3, "up"), ("x", 3, "asc")):
        with pytest.raises(RequestFault):
            paged(items, *bad)


def test_a_reference_is_the_message_that_it_names_as_an_item_of_its_own() -> None:
    kept = {"msg_1": said_item("msg_1", "Red.", "completed", [])}
    reference = {"type": "item_reference", "id": "msg_1"}
    given = [{"role": "user", "content": "What colour?"}, reference]
    assert references(given) == ["msg_1"]
    assert references("text") == references([7, {"type": "item_reference", "id": 7}]) == []
    _, one = items_of(given, "input", kept)
    assert one["id"] != "msg_1"
    assert one | {"id": "msg_1"} == kept["msg_1"]


def test_an_item_is_named_once() -> None:
    kept = {"msg_1": said_item("msg_1", "Red.", "completed", [])}
    reference = {"type": "item_reference", "id": "msg_1"}
    with pytest.raises(RequestFault) as error:
        items_of([reference, reference], "input", kept)
    fault = error.value.fault
    assert (fault.status, fault.code, fault.param) == (404, "item_not_found", "input.1.id")
