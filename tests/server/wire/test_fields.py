from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from memplus.server.faults import RequestFault
from memplus.server.naming import Names
from memplus.server.wire.fields import (
    Named,
    Sampled,
    plain_text,
    refuse,
    refuse_tools,
    served_model,
    stops,
)


def test_a_memory_is_a_name_or_an_object() -> None:
    for given in ("notes", {"id": " notes "}):
        body = Named.model_validate({"model": "nano", "memory": given})
        assert body.names("", None).memory == "notes"
    body = Named.model_validate({"model": "nano", "memory": {"evidence": True}})
    assert body.asked.evidence
    assert not body.asked.id
    assert not Named(model="nano").asked.evidence


def test_names_are_read_from_where_clients_put_them() -> None:
    body = Named.model_validate(
        {
            "model": "nano",
            "conversation": {"id": "c1"},
            "metadata": {"memory_id": "m1", "other": 5},
            "user": "u1",
            "safety_identifier": "s1",
        }
    )
    names = body.names("m2", "p1")
    found = (names.metadata, names.model, names.conversation, names.pinned, names.user)
    assert found == ("m1", "m2", "c1", "p1", "u1")
    assert names.safety_identifier == "s1"
    empty = {"user": None, "safety_identifier": None, "metadata": {"memory_id": None}}
    assert Named.model_validate({"model": "nano"} | empty).names("", None) == Names()


@pytest.mark.parametrize("odd", [5, True, {"id": "a"}, ["a"]])
def test_a_name_that_is_no_text_is_refused_and_not_passed_over(odd: object) -> None:
    for field in ("user", "safety_identifier"):
        with pytest.raises(ValidationError):
            Named.model_validate({"model": "nano", field: odd})
    body = Named.model_validate({"model": "nano", "metadata": {"memory_id": odd}})
    with pytest.raises(RequestFault) as error:
        body.names("", None)
    assert error.value.fault.param == "metadata.memory_id"


@pytest.mark.parametrize("field", [{"temperature": 2.1}, {"temperature": -1}, {"top_p": 0}])
def test_sampling_has_bounds(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sampled.model_validate({"model": "nano"} | field)


def test_a_content_is_text_or_parts_of_text() -> None:
    assert plain_text("a", "p") == "a"
    assert plain_text(None, "p") == ""
    parts = [
        {"type": "text", "text": "a"},
        {"type": "refusal"},
        {"type": "input_text", "text": "b"},
    ]
    assert plain_text(parts, "p") == "a\nb"
    for given in (
        [{"type": "input_audio"}],
        [{"type": []}],
        ["a"],
        5,
        {"text": "a"},
        [{"type": "text"}],
    ):
        with pytest.raises(RequestFault) as error:
            plain_text(given, "p")
        assert error.value.fault.param == "p"


def test_a_field_is_refused_where_it_is_given() -> None:
    for nothing in (None, [], 0, {}, ""):
        refuse("tools", nothing, "why")
    with pytest.raises(RequestFault) as error:
        refuse("tools", [1], "why")
    assert error.value.fault.message == "tools is not served: why."


def test_stops_are_texts() -> None:
    assert stops(None) == ()
    assert stops("a") == ("a",)
    assert stops(["a", "b"]) == ("a", "b")
    for given in ("", ["a", ""], ["a"] * 17):
        with pytest.raises(RequestFault):
            stops(given)


def test_a_model_is_named_with_or_without_a_memory() -> None:
    assert served_model("nano", "nano") == ""
    assert served_model("nano@notes", "nano") == "notes"
    with pytest.raises(RequestFault) as error:
        served_model("other@notes", "nano")
    assert error.value.fault.code == "model_not_found"


@pytest.mark.parametrize("choice", [None, "auto"])
def test_tools_that_a_client_can_do_without_are_left(choice: object) -> None:
    refuse_tools([{"type": "function"}], choice, ignored=True)


@pytest.mark.parametrize(
    ("choice", "ignored"),
    [(None, False), ("auto", False), ("required", True), ({"type": "function"}, True)],
)
def test_tools_that_have_to_be_called_are_refused_with_what_to_do(
    choice: object, *, ignored: bool
) -> None:
    with pytest.raises(RequestFault) as error:
        refuse_tools([{"type": "function"}], choice, ignored=ignored)
    assert error.value.fault.param == "tools"
    assert "X-Memory-Tools: ignore" in error.value.fault.message
