from __future__ import annotations

from pathlib import Path

import pytest
from tests.server.serving import Served, serving
from tests.server.speaking import FACT, failure, write

from memplus.mplus.model import MPlus


def test_a_key_is_made_shown_once_used_and_revoked(keyed: Served) -> None:
    with keyed.client(keyed.key("keys-1", scopes=("admin",))) as admin:
        made = admin.post("/v1/keys", json={"name": "phone", "scopes": ["read"]})
        assert made.status_code == 201
        key = made.json()
        listed = admin.get("/v1/keys")
        assert [one["name"] for one in listed.json()["data"]][-1] == "phone"
        assert key["key"] not in listed.text
        assert key["key"].startswith(key["prefix"])
        with keyed.client(key["key"]) as phone:
            assert phone.get("/v1/memories").status_code == 200
            assert failure(phone.get("/v1/keys"), 403) == "forbidden"
            assert failure(phone.post("/v1/keys", json={"name": "x"}), 403) == "forbidden"
            assert failure(phone.delete(f"/v1/keys/{key['id']}"), 403) == "forbidden"
            assert admin.delete(f"/v1/keys/{key['id']}").json()["deleted"] is True
            assert failure(phone.get("/v1/memories"), 401) == "invalid_api_key"
            assert "was revoked" in phone.get("/v1/memories").json()["error"]["message"]
        assert failure(admin.delete(f"/v1/keys/{key['id']}"), 404) == "key_not_found"
        assert admin.get("/v1/keys").json()["data"][-1]["revoked"] is not None


def test_an_admin_sees_and_ends_keys_of_the_own_tenant_only(keyed: Served) -> None:
    with (
        keyed.client(keyed.key("keys-2", scopes=("admin",))) as ann,
        keyed.client(keyed.key("keys-3", scopes=("admin",))) as bob,
    ):
        made = ann.post("/v1/keys", json={"name": "phone"}).json()
        assert made["id"] not in bob.get("/v1/keys").text
        assert failure(bob.delete(f"/v1/keys/{made['id']}"), 404) == "key_not_found"
        assert failure(bob.delete("/v1/keys/phone"), 404) == "key_not_found"
        # Names of others are nobody's business, so both may have one of that name.
        assert bob.post("/v1/keys", json={"name": "phone"}).status_code == 201
        again = ann.post("/v1/keys", json={"name": "phone"})
        assert failure(again, 409) == "key_exists"
        with keyed.client(made["key"]) as phone:
            assert phone.get("/v1/memories").status_code == 200


@pytest.mark.parametrize(
    ("own", "other", "allowed"),
    [
        ("team*", "team-red", True),
        ("team*", "team-*", True),
        ("team*", "*", False),
        ("team*", "", False),
        ("team*", "tea*", False),
        ("notes", "notes", True),
        ("notes", "notes*", False),
        ("notes", "", False),
    ],
)
def test_a_key_of_some_memories_makes_no_key_that_reaches_more(
    keyed: Served, own: str, other: str, allowed: bool
) -> None:
    tenant = f"keys-{own}-{other}".replace("*", "+")
    with keyed.client(keyed.key(tenant, scopes=("admin",), memory=own)) as admin:
        answer = admin.post("/v1/keys", json={"name": "new", "memory": other})
        assert answer.status_code == (201 if allowed else 403), answer.text


def test_a_key_of_some_memories_sees_no_key_that_reaches_more(keyed: Served) -> None:
    whole = keyed.key("keys-4", scopes=("admin",))
    with keyed.client(keyed.key("keys-4", scopes=("admin",), memory="team*")) as admin:
        (own,) = admin.get("/v1/keys").json()["data"]
        assert own["memory"] == "team*"
        with keyed.client(whole) as other:
            (first,) = [one for one in other.get("/v1/keys").json()["data"] if not one["memory"]]
        assert failure(admin.delete(f"/v1/keys/{first['id']}"), 404) == "key_not_found"


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "a", "scopes": []}, {"name": "a", "scopes": ["all"]},
     {"name": "a", "memory": "a/b"}, {"name": "a\n"}],
)  # fmt: skip
def test_a_key_that_cannot_be_is_refused(keyed: Served, body: dict[str, object]) -> None:
    with keyed.client(keyed.key("keys-5", scopes=("admin",))) as admin:
        assert failure(admin.post("/v1/keys", json=body), 400) == "invalid"


def test_the_first_key_closes_the_server(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as anybody:
        write(anybody)
        key = anybody.post("/v1/keys", json={"name": "mine", "scopes": ["admin"]}).json()["key"]
        assert failure(anybody.get("/v1/memories"), 401) == "invalid_api_key"
        with served.client(key) as mine:
            assert [one["id"] for one in mine.get("/v1/memories").json()["data"]] == ["ann"]


def test_recent_requests_are_found_by_their_ids_and_hold_no_text(keyed: Served) -> None:
    with keyed.client(keyed.key("recent")) as client:
        write(client, headers={"x-request-id": "my-own-id"})
        client.get("/v1/memories/secret-name")
        answer = client.get("/v1/requests?limit=2")
        missing, written = answer.json()["data"]
        assert (written["id"], written["status"], written["code"]) == ("my-own-id", 201, "")
        assert written["route"] == "/v1/memories/{memory}/writes"
        assert (missing["status"], missing["code"]) == (404, "memory_not_found")
        assert missing["seconds"] > 0
        for secret in (FACT, "secret-name", "locker"):
            assert secret not in answer.text
        assert len(client.get("/v1/requests?limit=1").json()["data"]) == 1
        assert client.get("/v1/requests?limit=1").json()["has_more"] is True
    with keyed.client(keyed.key("recent")) as second:
        assert second.get("/v1/requests").json()["data"] == []
    with keyed.client(keyed.key("recent", scopes=("admin",))) as admin:
        assert "my-own-id" in [one["id"] for one in admin.get("/v1/requests").json()["data"]]


def test_a_key_is_revoked_though_another_is_called_by_its_id(keyed: Served) -> None:
    with keyed.client(keyed.key("alike", scopes=("admin",))) as admin:
        phone = admin.post("/v1/keys", json={"name": "phone"}).json()
        other = admin.post("/v1/keys", json={"name": phone["id"]}).json()
        assert admin.delete(f"/v1/keys/{phone['id']}").json()["id"] == phone["id"]
        assert failure(admin.delete(f"/v1/keys/{phone['id']}"), 404) == "key_not_found"
        revoked = {one["id"]: one["revoked"] for one in admin.get("/v1/keys").json()["data"]}
        assert revoked[phone["id"]]
        assert not revoked[other["id"]]
