from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import jwt
import pytest

from memplus.server.faults import RequestFault
from memplus.server.naming import (
    Names,
    background_task,
    chain_name,
    forwarded_user,
    ignores_tools,
    named_memory,
    told,
)
from memplus.server.principals import Principal

WHO = Principal("acme", "k1")
GATEWAY = Principal("acme", "k1", gateway=True)
SECRET = "a secret of more than thirty-two bytes"
ORDER = [
    ("memory", "field"),
    ("metadata", "metadata"),
    ("model", "model"),
    ("user", "user"),
    ("safety_identifier", "safety"),
]


def test_the_first_name_that_is_given_counts() -> None:
    who = replace(GATEWAY, memory="bound")
    headers = {"x-memory-id": "header", "x-openwebui-user-id": "forwarded"}
    names = Names(**dict(ORDER))
    expected = ["header", *(value for _, value in ORDER), "forwarded", "bound"]
    found = [named_memory(who, headers, names, "")]
    del headers["x-memory-id"]
    for field, _ in ORDER:
        found.append(named_memory(who, headers, names, ""))
        names = replace(names, **{field: ""})
    found.append(named_memory(who, headers, names, ""))
    found.append(named_memory(who, {}, names, ""))
    assert found == expected
    assert named_memory(WHO, {}, names, "") is None


def test_a_conversation_keeps_its_memory_and_lets_nobody_change_it() -> None:
    assert named_memory(WHO, {}, Names(pinned="notes", user="ann"), "") == "notes"
    assert named_memory(WHO, {}, Names(pinned="", user="ann"), "") is None
    assert named_memory(WHO, {"x-memory-id": "notes"}, Names(pinned="notes"), "") == "notes"
    for pinned in ("notes", ""):
        with pytest.raises(RequestFault) as error:
            named_memory(WHO, {}, Names(pinned=pinned, memory="else"), "")
        assert error.value.fault.code == "conversation_memory"
        assert "notes" not in error.value.fault.message


def test_a_forwarded_user_is_believed_of_a_gateway_alone() -> None:
    headers = {"x-openwebui-user-id": "u1"}
    assert forwarded_user(GATEWAY, headers, "") == "u1"
    assert forwarded_user(WHO, headers, "") == ""
    assert forwarded_user(GATEWAY, headers, SECRET) == ""  # not signed


def token(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> dict[str, str]:
    claims = {"sub": "u1", "iss": "open-webui", "exp": time.time() + 60} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return {"x-openwebui-user-jwt": jwt.encode(claims, secret, algorithm)}


def test_a_signed_user_counts() -> None:
    assert forwarded_user(GATEWAY, token(), SECRET) == "u1"
    assert forwarded_user(WHO, token(), SECRET) == ""


@pytest.mark.parametrize(
    "headers",
    [
        token(secret="another secret of more than thirty-two bytes"),
        token(algorithm="HS512", secret=SECRET * 2),
        token(exp=time.time() - 60),
        token(exp=None),
        token(iss="somebody"),
        token(iss=None),
        token(sub=None),
        {"x-openwebui-user-jwt": jwt.encode({"sub": "u1"}, "", "none")},
        {"x-openwebui-user-jwt": "nonsense"},
    ],
)
def test_a_signature_that_is_wrong_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RequestFault) as error:
        forwarded_user(GATEWAY, headers, SECRET)
    assert (error.value.fault.status, error.value.fault.code) == (401, "invalid_user_token")


def test_the_chain_goes_by_the_first_id_that_is_given() -> None:
    headers = {"x-conversation-id": "a", "x-openwebui-chat-id": "b", "x-session-id": "c"}
    found = [chain_name(headers, "body")]
    for name in list(headers):
        found.append(chain_name(headers, ""))
        del headers[name]
    assert [*found, chain_name({}, "")] == ["body", "a", "b", "c", ""]


def test_names_have_a_bound() -> None:
    with pytest.raises(RequestFault):
        chain_name({}, "x" * 513)
    with pytest.raises(RequestFault):
        named_memory(WHO, {}, Names(user="x" * 513), "")


def test_any_text_in_the_task_header_marks_a_background_task() -> None:
    assert background_task({"x-memory-task": "title_generation"})
    assert not background_task({"x-memory-task": " "})
    assert not background_task({})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"x-memory-tools": "ignore"}, True),
        ({"x-memory-tools": " Ignore "}, True),
        ({"x-memory-tools": "call"}, False),
        ({"x-memory-task": ""}, True),
        ({"x-openwebui-chat-id": "c1"}, True),
    ],
)
def test_tools_may_be_left_where_a_client_says_so(
    headers: dict[str, str], *, expected: bool
) -> None:
    assert ignores_tools(headers) is expected


@pytest.mark.parametrize("name", ["J\u00fcrgen", "\u5c71\u672c", "\U0001f600", "plain"])
def test_a_header_names_what_a_body_names(name: str) -> None:
    sent = name.encode().decode("latin-1")  # as a framework reads it
    for header in ("x-memory-id", "x-openwebui-user-id"):
        assert named_memory(GATEWAY, {header: sent}, Names(), "") == name
    assert chain_name({"x-conversation-id": f" {sent} "}, "") == name


def test_a_header_in_latin_1_is_taken_as_it_is() -> None:
    assert told({"x-memory-id": "J\u00fcrgen"}, "x-memory-id") == "J\u00fcrgen"
    assert told({}, "x-memory-id") == ""
