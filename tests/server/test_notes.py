from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cli.test_memories_served import everything
from tests.server.serving import Served, serving

from memplus.cli.main import main
from memplus.errors import CorruptMemoryError
from memplus.mplus.model import MPlus
from memplus.server.calls import Call
from memplus.server.notes import Notes
from memplus.store import MemoryStore
from memplus.store.enclosed import enclosed

CALL = Call("call-1", "d", "s", 0, 4, (1,), {"flower": "tulip"})
FILE = Path("alice.memory")


def test_they_are_read_as_they_were_written() -> None:
    notes = Notes({"of": "memory"}, [CALL])
    assert Notes.of(notes.content(), FILE) == notes
    assert Notes({}).content() == b""
    assert Notes.of(b"", FILE) == Notes({})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"more": 1}, "more"),
        ({"calls": [{"id": "two words"}]}, "calls"),
        ({"calls": [{"start": -1}]}, "calls"),
        ({"calls": [{"metadata": {"a": 1}}]}, "calls"),
        ({"calls": [{"writes": ["x"]}]}, "calls"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], named: str) -> None:
    content = json.loads(Notes({"of": "memory"}, [CALL]).content())
    calls = [content["calls"][0] | one for one in change.pop("calls", [{}])]
    body = json.dumps(content | {"calls": calls} | change).encode()
    with pytest.raises(CorruptMemoryError, match=named):
        Notes.of(body, FILE)
    with pytest.raises(CorruptMemoryError):
        Notes.of(b"{", FILE)


def tell(client: httpx.Client, name: str, text: str, flower: str) -> None:
    body = {"text": text, "source": "s", "flush": True, "metadata": {"flower": flower}}
    headers = {"Idempotency-Key": flower}
    answer = client.post(f"/v1/memories/{name}/writes", json=body, headers=headers)
    assert answer.status_code == 201


def flowers(client: httpx.Client, name: str) -> list[str]:
    page = client.get(f"/v1/memories/{name}/writes").json()
    return [one["metadata"].get("flower", "") for one in page["data"]]


def test_metadata_of_a_memory_and_of_its_writes_make_the_round(
    served: Served, tmp_path: Path, nano: MPlus
) -> None:
    with served.client() as client:
        client.post("/v1/memories", json={"id": "round", "metadata": {"of": "memory"}})
        tell(client, "round", " One.", "tulip")
        state = client.get("/v1/memories/round/history").json()["last_id"]
        tell(client, "round", " Two.", "rose")
        exported = client.get("/v1/memories/round/export").content
        path = "/v1/memories:import?id=again"
        assert client.post(path, content=exported).json()["metadata"] == {"of": "memory"}
        assert flowers(client, "again") == flowers(client, "round") == ["tulip", "rose"]
        tell(client, "again", " One.", "tulip")  # it is known again there
        assert flowers(client, "again") == ["tulip", "rose"]
        client.post("/v1/memories/again/forget", json={"write": 1})
        client.post("/v1/memories/round/rollback", json={"commit": int(state)})
        for name, left in (("again", ["rose"]), ("round", ["tulip"])):
            exported = client.get(f"/v1/memories/{name}/export").content
            assert client.post(path + name, content=exported).status_code == 201
            assert flowers(client, f"again{name}") == left
            (tmp_path / name).write_bytes(exported)
    assert b"tulip" not in enclosed(tmp_path / "again").notes
    assert b"rose" not in enclosed(tmp_path / "round").notes


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert not ended.value.code


def test_commands_take_metadata_along_too(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path / "s", nano) as served, served.client() as client:
        tell(client, "ann", " One.", "tulip")
        run("memories", "export", "ann", tmp_path / "file", "--store", tmp_path / "s")
        run("memories", "import", tmp_path / "file", "--id", "bob", "--store", tmp_path / "s")
        assert flowers(client, "bob") == ["tulip"]
    run("memories", "import", tmp_path / "file", "--store", tmp_path / "t")
    assert "tulip" in everything(tmp_path / "t")
    with serving(tmp_path / "t", nano) as served, served.client() as client:
        assert flowers(client, "ann") == ["tulip"]


def test_a_refused_import_changes_nothing(served: Served, tmp_path: Path) -> None:
    with served.client() as client:
        tell(client, "refused", " One.", "tulip")
        exported = client.get("/v1/memories/refused/export").content
        again = client.post("/v1/memories:import?id=refused", content=exported)
        assert again.status_code == 409
        assert flowers(client, "refused") == ["tulip"]
        store = MemoryStore(tmp_path / "s")
        (tmp_path / "file").write_bytes(exported)
        store.import_memory(tmp_path / "file", "ann")
        store.export("ann", tmp_path / "bad", notes=b'{"version": 7}')
        bad = client.post("/v1/memories:import?id=bad", content=(tmp_path / "bad").read_bytes())
        assert bad.status_code == 422
        assert client.get("/v1/memories/bad").status_code == 404
        assert served.services.calls.ids("bad") == []
