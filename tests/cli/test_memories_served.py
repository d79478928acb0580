"""``memplus memories`` over a store that a server uses: what it keeps beside a memory follows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import NOTE, QUESTION, Run
from tests.cli.test_commands import run_json
from tests.server.serving import Served, serving
from tests.server.talking import client_of, held, user

from memplus.mplus.model import MPlus
from memplus.server.intake import Entry, Intake

OTHER = "Ivo Baran's favourite colour is blue."
SECRETS = ("4821", "tulip")


@pytest.fixture(scope="module")
def nano() -> MPlus:
    return MPlus.from_pretrained("nano").eval()


def talk(served: Served) -> str:
    """A stored response, a conversation, a repeated request and a write with metadata, all of
    which hold what is to be forgotten; the response's id."""
    client = client_of(served)
    conversation = client.conversations.create(items=[user(NOTE)], extra_body={"memory": "ann"})
    said = {"model": "nano", "extra_body": {"memory": "ann"}}
    response = client.responses.create(input=NOTE, conversation=conversation.id, **said)
    key = {"Idempotency-Key": "once"}
    client.chat.completions.create(messages=[user(NOTE)], extra_headers=key, **said)
    with served.client() as http:
        body = {"text": f" {NOTE}", "source": "notes", "metadata": {"flower": "tulip"}}
        assert http.post("/v1/memories/ann/writes", json=body).status_code == 201
        body = {"text": f" {OTHER}", "source": "others", "metadata": {"flower": "rose"}}
        assert http.post("/v1/memories/ann/writes", json=body).status_code == 201
    return str(response.id)


def everything(folder: Path) -> str:
    """All that stands in the server's own files."""
    files = sorted(folder.glob("server.db*"))
    return "".join(file.read_bytes().decode("latin-1") for file in files)


def gone(served: Served, response: str) -> bool:
    with served.client() as http:
        return http.get(f"/v1/responses/{response}").status_code == 404


@contextmanager
def kept(folder: Path, nano: MPlus) -> Iterator[str]:
    """A store that a server has used and that none uses now; the id of a response."""
    with serving(folder, nano) as served:
        response = talk(served)
        held(served, "ann")
    assert all(secret in everything(folder) for secret in SECRETS)
    yield response


def test_what_is_forgotten_by_a_command_goes_from_the_servers_notes_too(
    run: Run, nano: MPlus, tmp_path: Path
) -> None:
    with kept(tmp_path / "s", nano) as response:
        place = ("--store", tmp_path / "s")
        alone = run_json(run, "memories", "forget", "ann", "--rebuild", *place)
        assert (alone["writes"], alone["also_removed"]) == ([], {})
        assert all(secret in everything(tmp_path / "s") for secret in SECRETS)
        told = run_json(run, "memories", "forget", "ann", "--match", "locker", *place)
        assert told["also_removed"] == {"responses": 1, "conversation_items": 3}
        assert not any(secret in everything(tmp_path / "s") for secret in SECRETS)
        assert "rose" in everything(tmp_path / "s")
        with serving(tmp_path / "s", nano) as served:
            assert gone(served, response)
            client = client_of(served)  # whose client sends its history again
            said = [user(NOTE)]
            client.chat.completions.create(messages=said, model="nano", user="ann")
            assert "4821" not in held(served, "ann")


def test_a_command_forgets_while_a_server_has_the_memory(
    run: Run, nano: MPlus, tmp_path: Path
) -> None:
    with serving(tmp_path / "s", nano) as served:
        response = talk(served)
        place = ("--store", tmp_path / "s")
        run_json(run, "memories", "forget", "ann", "--match", "locker", *place)
        assert not any(secret in everything(tmp_path / "s") for secret in SECRETS)
        assert gone(served, response)
        assert held(served, "ann") == f" {OTHER}"
        with served.client() as http:
            answer = http.post("/v1/memories/ann/ask", json={"question": QUESTION}).json()
            assert "4821" not in answer["answer"]
            page = http.get("/v1/memories/ann/writes").json()
            assert "4821" not in str(page)


def test_a_memory_that_a_command_deletes_leaves_nothing_with_the_server(
    run: Run, nano: MPlus, tmp_path: Path
) -> None:
    with serving(tmp_path / "s", nano) as served:
        response = talk(served)
        run_json(run, "memories", "delete", "ann", "--store", tmp_path / "s")
        assert not any(secret in everything(tmp_path / "s") for secret in (*SECRETS, "rose"))
        assert gone(served, response)
        for table in ("turns", "calls", "intake", "memories", "conversations", "forgettings"):
            assert served.services.database.rows(f"SELECT * FROM {table}") == [], table
        client = client_of(served)  # and a new one of its name is told the same anew
        client.chat.completions.create(messages=[user(NOTE)], model="nano", user="ann")
        assert "4821" in held(served, "ann")


def test_a_memory_that_a_command_rolls_back_is_told_the_later_turns_again(
    run: Run, nano: MPlus, tmp_path: Path
) -> None:
    with serving(tmp_path / "s", nano) as served:
        client = client_of(served)
        client.chat.completions.create(messages=[user(OTHER)], model="nano", user="ann")
        held(served, "ann")
        with served.client() as http:
            body = {"text": f" {NOTE}", "metadata": {"flower": "tulip"}}
            assert http.post("/v1/memories/ann/writes", json=body).status_code == 201
        place = ("--store", tmp_path / "s")
        run_json(run, "memories", "rollback", "ann", "--commit", 1, *place)
        assert held(served, "ann") == ""
        assert "tulip" not in everything(tmp_path / "s")
        client.chat.completions.create(messages=[user(OTHER)], model="nano", user="ann")
        assert OTHER in held(served, "ann")


def waiting(served: Served, text: str) -> None:
    """A text that a server took in, and that it was ended before it could write."""
    with served.services.database.transaction() as run:
        Intake.put(run, [Entry(Intake.new_id(), "", "ann", "chat", text)])


def test_a_rollback_takes_back_what_the_server_had_not_written_yet(
    run: Run, nano: MPlus, tmp_path: Path
) -> None:
    with serving(tmp_path / "s", nano) as served:
        talk(served)
        held(served, "ann")
        waiting(served, " A third thing.")
    run_json(run, "memories", "rollback", "ann", "--commit", 1, "--store", tmp_path / "s")
    with serving(tmp_path / "s", nano) as served:
        assert held(served, "ann") == ""


def test_forgetting_covers_what_the_server_had_not_written_yet(
    run: Run, nano: MPlus, tmp_path: Path
) -> None:
    with serving(tmp_path / "s", nano) as served:
        talk(served)
        held(served, "ann")
        waiting(served, " The owl lives in the oak.")
        waiting(served, " The fox lives in the den.")
    place = ("--store", tmp_path / "s")
    told = run("memories", "export", "ann", tmp_path / "ann", *place)
    assert "2 texts that a server has accepted are not written yet" in told.err
    run_json(run, "memories", "forget", "ann", "--match", "owl", *place)
    assert "owl" not in everything(tmp_path / "s")
    with serving(tmp_path / "s", nano) as served:
        assert "owl" not in held(served, "ann")


def test_a_file_that_replaces_an_older_one_replaces_it_with_the_server_too(
    run: Run, nano: MPlus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("notes")
    file.write_text("The locker code was changed.", "utf-8")
    with kept(tmp_path / "s", nano) as response:
        alice = ("--store", tmp_path / "s", "--id", "ann")
        assert run("write", file, *alice).code == 2  # another text than is there
        assert "tulip" in everything(tmp_path / "s")
        run_json(run, "write", file, "--replace", *alice)
        assert not any(secret in everything(tmp_path / "s") for secret in SECRETS)
        assert "rose" in everything(tmp_path / "s")
        with serving(tmp_path / "s", nano) as served:
            assert gone(served, response)


def test_a_fork_by_a_command_knows_what_was_written(run: Run, nano: MPlus, tmp_path: Path) -> None:
    with serving(tmp_path / "s", nano) as served:
        talk(served)
        before = held(served, "ann")
        run_json(run, "memories", "fork", "ann", "bob", "--store", tmp_path / "s")
        client = client_of(served)
        client.chat.completions.create(messages=[user(NOTE)], model="nano", user="bob")
        assert held(served, "bob") == before
        with served.client() as http:
            assert "tulip" in str(http.get("/v1/memories/bob/writes").json())


def test_a_memory_that_is_moved_away_leaves_nothing_with_the_server(
    run: Run, nano: MPlus, tmp_path: Path
) -> None:
    with serving(tmp_path / "s", nano) as served:
        talk(served)
        held(served, "ann")
        waiting(served, " A third thing.")
    move = ("memories", "move", "ann", "--to", tmp_path / "t", "--store", tmp_path / "s")
    refused = run(*move)
    assert refused.code == 2
    assert "1 texts" in refused.err
    with serving(tmp_path / "s", nano) as served:
        assert "A third thing" in held(served, "ann")
        run_json(run, *move)
        assert not any(secret in everything(tmp_path / "s") for secret in SECRETS)
        with served.client() as http:
            assert http.get("/v1/memories/ann").status_code == 404


def test_a_store_that_no_server_uses_gets_no_file_of_one(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text(NOTE, "utf-8")
    place: tuple[Any, ...] = ("--store", tmp_path / "s")
    run_json(run, "write", file, *place, "--id", "ann", "--model", "nano")
    run_json(run, "memories", "fork", "ann", "bob", *place)
    assert (
        run_json(run, "memories", "forget", "bob", "--match", "4821", *place)["also_removed"] == {}
    )
    run_json(run, "memories", "delete", "ann", *place)
    assert not list((tmp_path / "s").glob("server.*"))


def test_a_text_in_a_database_would_be_found(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "server.db") as connection:
        connection.execute("CREATE TABLE t (text TEXT)")
        connection.execute("INSERT INTO t VALUES ('tulip')")
    connection.close()
    assert "tulip" in everything(tmp_path)
