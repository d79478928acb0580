from __future__ import annotations

import shutil
import time
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from tests.server.serving import Served, serving
from tests.server.speaking import ANSWER, FACT, ask, failure, note, write

from memplus.errors import BudgetError
from memplus.mplus.model import MPlus
from memplus.server.routes import memories as routes
from memplus.store import MemoryStore, StoredMemory


def test_a_memory_is_made_with_its_limits_and_its_metadata(client: httpx.Client) -> None:
    asked = {"name": "ann", "seed": 3, "rows": "int4", "metadata": {"team": "red"}}
    made = client.post("/v1/memories", json=asked)
    assert made.status_code == 201
    one = made.json()
    assert (one["id"], one["rows"], one["metadata"]) == ("ann", "int4", {"team": "red"})
    assert (one["writes"], one["tokens"], one["waiting"], one["model"]) == (0, 0, 0, "nano")
    assert failure(client.post("/v1/memories", json=asked), 409) == "memory_exists"


def test_metadata_may_be_as_long_as_is_promised(client: httpx.Client) -> None:
    metadata = {f"{'k' * 62}{place:02}": "\u00e9\U0001f600" * 256 for place in range(16)}
    made = client.post("/v1/memories", json={"name": "ann", "metadata": metadata})
    assert made.status_code == 201, made.text
    assert client.get("/v1/memories/ann").json()["metadata"] == metadata
    file = client.get("/v1/memories/ann/export").content
    assert client.post("/v1/memories:import", params={"id": "bob"}, content=file).is_success
    assert client.get("/v1/memories/bob").json()["metadata"] == metadata
    client.post("/v1/memories/ann/fork", json={"name": "cid"})
    assert client.get("/v1/memories/cid").json()["metadata"] == metadata
    for more in ({"k" * 65: ""}, {"k": "v" * 513}, metadata | {"k": "v"}):
        refused = client.post("/v1/memories", json={"name": "dan", "metadata": more})
        assert failure(refused, 400) == "invalid"
    assert failure(client.get("/v1/memories/dan"), 404) == "memory_not_found"  # nor half of it


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\nb", "\x00", "x" * 201])
def test_names_that_no_memory_can_have_are_refused(client: httpx.Client, name: str) -> None:
    answer = client.post("/v1/memories", json={"name": name})
    assert failure(answer, 400) == "invalid"
    assert answer.json()["error"]["param"] == "name"
    assert client.get("/v1/memories").json()["data"] == []


def test_writing_and_chatting_make_no_memory_of_such_a_name(client: httpx.Client) -> None:
    name = "x" * 201
    answer = client.post(f"/v1/memories/{name}/writes", json={"text": FACT})
    assert failure(answer, 400) == "invalid"
    said = {"model": "nano", "messages": [{"role": "user", "content": FACT}], "user": name}
    assert failure(client.post("/v1/chat/completions", json=said), 400) == "invalid"
    assert client.get("/v1/memories").json()["data"] == []


def test_a_write_that_passes_the_limit_of_its_memory_writes_nothing(client: httpx.Client) -> None:
    client.post("/v1/memories", json={"id": "small", "max_bytes": 100_000})
    asked = {"text": note(1) * 20}
    assert failure(client.post("/v1/memories/small/writes", json=asked), 413) == "memory_full"
    assert client.get("/v1/memories/small").json()["tokens"] == 0


@pytest.mark.parametrize("name", ["%20ann", "ann%20"])
def test_a_name_with_a_blank_at_an_end_is_refused(client: httpx.Client, name: str) -> None:
    """A header, or the field ``user``, could not name it."""
    plain = unquote(name)
    write(client)
    for path, body in (
        (f"/{name}/writes", {"text": note(1)}),
        ("", {"name": plain}),
        ("/ann/fork", {"name": plain}),
        (f":import?id={name}", None),
    ):
        answer = client.post(f"/v1/memories{path}", json=body)
        assert failure(answer, 400) == "invalid"
        assert "no blank at its beginning or end" in answer.json()["error"]["message"]
    assert [one["id"] for one in client.get("/v1/memories").json()["data"]] == ["ann"]


def test_what_is_not_there_is_not_found_and_not_made(client: httpx.Client) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/history", None),
        ("GET", "/export", None),
        ("GET", "/writes", None),
        ("POST", "/fork", {"id": "other"}),
        ("POST", "/rollback", {"write": 0}),
        ("POST", "/ask", {"question": "Who?"}),
        ("POST", "/search", {"query": "Who?"}),
        ("POST", "/forget", {"match": "x"}),
        ("POST", "/forget", {"match": "x", "dry_run": True}),
    ):
        answer = client.request(method, f"/v1/memories/none{path}", json=body)
        assert failure(answer, 404) == "memory_not_found", path
    assert client.get("/v1/memories").json()["data"] == []


def test_a_deleted_memory_is_gone_with_what_is_kept_of_it(
    keyed: Served, client: httpx.Client
) -> None:
    write(client, headers={"Idempotency-Key": "once"}, metadata={"of": "rowan"})
    write(client, "bob", metadata={"of": "rowan"})
    gone = client.delete("/v1/memories/ann").json()
    assert gone == {"id": "ann", "object": "memory", "deleted": True}
    assert failure(client.get("/v1/memories/ann"), 404) == "memory_not_found"
    rows = keyed.services.database.rows("SELECT stored FROM calls WHERE metadata LIKE '%rowan%'")
    assert not [row for row in rows if row["stored"].endswith("/ann")]
    assert [row for row in rows if row["stored"].endswith("/bob")]
    again = write(client, headers={"Idempotency-Key": "once"})
    assert (again["repeated"], again["created"]) == (False, True)


def test_an_exported_memory_is_imported_under_another_name(
    keyed: Served, client: httpx.Client
) -> None:
    write(client, flush=True)
    exported = client.get("/v1/memories/ann/export")
    assert exported.status_code == 200
    assert exported.headers["content-disposition"].startswith("attachment")
    with keyed.client(keyed.key("elsewhere")) as other:
        made = other.post("/v1/memories:import?id=copy", content=exported.content)
        assert (made.status_code, made.json()["id"]) == (201, "copy")
        assert ask(other, "copy")["answer"] == ANSWER
        again = other.post("/v1/memories:import?id=copy", content=exported.content)
        assert failure(again, 409) == "memory_exists"
        for bad in (b"", b"no export", exported.content[:-200]):
            answer = other.post("/v1/memories:import?id=bad", content=bad)
            assert answer.status_code in (400, 422), answer.text
            assert answer.json()["error"]["code"] in ("invalid_export", "memory_corrupt")
        assert [one["id"] for one in other.get("/v1/memories").json()["data"]] == ["copy"]


def test_an_import_may_be_larger_than_other_bodies_and_not_larger_than_its_bound(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano, body_bytes=50_000) as served, served.client() as client:
        write(client, flush=True)
        exported = client.get("/v1/memories/ann/export").content
        assert len(exported) > 50_000
        made = client.post("/v1/memories:import?id=copy", content=exported)
        assert made.status_code == 201
        answer = client.post("/v1/memories", content=b"x" * 60_000)
        assert failure(answer, 413) == "request_too_large"
    with serving(tmp_path, nano, import_bytes=50_000) as served, served.client() as client:
        answer = client.post("/v1/memories:import?id=third", content=exported)
        assert failure(answer, 413) == "request_too_large"


def test_nothing_of_an_export_or_import_is_left_behind(
    keyed: Served, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write(client, flush=True)
    exported = client.get("/v1/memories/ann/export").content
    client.post("/v1/memories:import?id=copy", content=exported)
    client.post("/v1/memories:import?id=bad", content=b"no export")
    assert failure(client.get("/v1/memories/none/export"), 404) == "memory_not_found"
    for asked in ("bytes=0-3", "bytes=9999999999-", "bytes=x"):  # another one each time: no parts
        whole = client.get("/v1/memories/ann/export", headers={"Range": asked})
        assert (whole.status_code, len(whole.content)) == (200, len(exported))
        assert whole.headers["accept-ranges"] == "none"
    end = time.monotonic() + 20
    while list(tmp_path.iterdir()) and time.monotonic() < end:  # it goes once all is sent
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_an_import_that_is_refused_is_not_received(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, nano, keys=True, memories_per_tenant=2) as served:
        taken: list[object] = []
        monkeypatch.setattr(routes, "received", lambda *given: taken.append(given))
        reader = served.key("acme", scopes=("read",))
        bound = served.key("acme", memory="else")
        owner = served.key("acme")
        with served.client(owner) as client:
            for name in ("ann", "bob"):
                write(client, name)
        file = b"x" * 100_000
        for key, id, status, name in (
            (reader, "new", 403, "forbidden"),
            (bound, "new", 404, "memory_not_found"),
            (owner, "ann", 429, "too_many_memories"),
            (owner, "new", 429, "too_many_memories"),
        ):
            with served.client(key) as client:
                answer = client.post(f"/v1/memories:import?id={id}", content=file)
                assert failure(answer, status) == name
        with served.client(owner) as client:
            client.delete("/v1/memories/bob")
            answer = client.post("/v1/memories:import?id=ann", content=file)
            assert failure(answer, 409) == "memory_exists"
            free = type("Usage", (), {"free": 150_000})
            monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
            answer = client.post("/v1/memories:import?id=new", content=file)
            assert failure(answer, 507) == "storage_error"
            served.services.state = "loading"
            answer = client.post("/v1/memories:import?id=new", content=file)
            assert failure(answer, 503) == "loading"
        assert not taken


def test_an_imported_memory_is_bounded_as_any_other(tmp_path: Path, nano: MPlus) -> None:
    own = MemoryStore(tmp_path / "own")
    with own.create("free", nano) as memory:
        for _ in range(3):
            nano.write(memory, note(0), flush=True)
        size = _bytes_of(memory, nano)
    own.export("free", tmp_path / "file")
    exported = (tmp_path / "file").read_bytes()
    with (
        serving(tmp_path / "s", nano, memory_bytes=size) as served,
        served.client() as client,
    ):
        made = client.post("/v1/memories:import?id=ann", content=exported)
        assert made.status_code == 201, made.text
        long = {"text": "The gate is red. " * 2000, "flush": True}
        for _ in range(2):
            refused = client.post("/v1/memories/ann/writes", json=long)
            assert failure(refused, 413) == "memory_full"
            states = client.get("/v1/memories/ann/history").json()["data"]
            back = {"commit": states[0]["commit"]}
            assert client.post("/v1/memories/ann/rollback", json=back).is_success
    with (
        serving(tmp_path / "t", nano, memory_bytes=size - 1) as served,
        served.client() as client,
    ):
        refused = client.post("/v1/memories:import?id=ann", content=exported)
        assert failure(refused, 413) == "memory_full"
        assert client.get("/v1/memories").json()["data"] == []
        assert client.get("/v1/memories/ann").status_code == 404


def _bytes_of(memory: StoredMemory, nano: MPlus) -> int:
    memory.max_bytes = 0
    with pytest.raises(BudgetError) as error:
        memory.check_budget(0, nano.core.row_bytes(memory.rows))
    memory.max_bytes = None
    return int(str(error.value.fields["needed"]))
