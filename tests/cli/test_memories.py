"""``memplus memories`` and ``--store``: the memories of a directory, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.cli.test_commands import run_json
from tests.store.fakes import FakeHost

from memplus.store import MemoryStore

HOST = FakeHost()

GATE = "The gate of the old house is red. It has been so for many years. " * 4
DOG = "The dog of the miller is called Bruno, and it sleeps all day. " * 4


@pytest.fixture
def place(run: Run, tmp_path: Path, tiny: Path) -> list[object]:
    """A store with a memory ``alice`` of two sources."""
    for name, text in (("gate.txt", GATE), ("dog.txt", DOG)):
        (tmp_path / name).write_text(text)
        run_json(
            run, "write", tmp_path / name, "--store", tmp_path / "s", "--id", "alice",
            "--model", tiny,
        )  # fmt: skip
    return ["--store", tmp_path / "s"]


def test_history_prints_labels_and_names_as_they_are(run: Run, tmp_path: Path) -> None:
    name = "[red]alice"
    with MemoryStore(tmp_path / "s").create(name, HOST) as memory, memory.labelled("[b]12"):
        HOST.write(memory, [[1, 2, 3, 4]], "a")
    place = ("--store", tmp_path / "s")
    states = run_json(run, "memories", "history", name, *place)["states"]
    assert [one["what"] for one in states] == ["create", "write [b]12"]
    told = run("memories", "history", name, *place).out
    assert "write [b]12" in told
    assert name in told
    assert name in run("memories", "list", *place).out


def test_a_memory_moves_to_another_store(run: Run, tmp_path: Path) -> None:
    with MemoryStore(tmp_path / "s").create("alice", HOST) as memory:
        HOST.write(memory, [[1, 2, 3, 4]], "a")
    moved = ("memories", "move", "alice", "--to", tmp_path / "t", "--store", tmp_path / "s")
    assert run_json(run, *moved)["to"] == str(tmp_path / "t")
    (one,) = run_json(run, "memories", "list", "--store", tmp_path / "t")["memories"]
    assert (one["id"], one["writes"]) == ("alice", 1)
    assert run_json(run, "memories", "list", "--store", tmp_path / "s")["memories"] == []
    assert run(*moved).code == 2
    there = ("memories", "move", "alice", "--to", tmp_path / "t", "--store", tmp_path / "t")
    assert run(*there).code == 2


def test_a_memory_of_a_store_from_its_first_text_to_its_end(
    run: Run, tmp_path: Path, tiny: Path, place: list[object]
) -> None:
    model = ["--model", tiny]
    (listed,) = run_json(run, "memories", "list", *place)["memories"]
    assert (listed["id"], listed["tokens"] + listed["waiting"]) == ("alice", len(GATE + DOG))
    shown = run_json(run, "memories", "show", "alice", *place)
    assert shown["bytes"] > 0
    assert shown["states"] == 3
    alice = [*place, "--id", "alice", *model]
    answer = run_json(run, "ask", "Who is red?", *alice)
    assert run_json(run, "inspect", *alice, "--ram", 1 << 20)["tokens"] == listed["tokens"]

    states = run_json(run, "memories", "history", "alice", *place)["states"]
    assert [one["what"] for one in states] == ["create", "write", "write"]
    run_json(run, "memories", "fork", "alice", "bob", *place)
    run_json(run, "memories", "rollback", "bob", states[1]["writes"], *place)
    assert run_json(run, "memories", "show", "bob", *place)["tokens"] == states[1]["tokens"]
    first = states[0]["commit"]
    told = run_json(run, "memories", "rollback", "bob", "--commit", first, *place)
    assert (told["commit"], told["writes"]) == (first, 0)
    assert run("memories", "rollback", "bob", *place).code == 2

    run_json(run, "memories", "export", "alice", tmp_path / "a.zip", *place)
    run_json(run, "memories", "import", tmp_path / "a.zip", *place, "--id", "carol")
    again = run_json(run, "ask", "Who is red?", *place, "--id", "carol", *model)
    assert again["text"] == answer["text"]

    forget = ["memories", "forget", "alice", *place, *model, "--match", "bruno"]
    before = run_json(run, "memories", "show", "alice", *place)
    would = run_json(run, *forget, "--dry-run")
    assert "bruno" in "".join(one["text"] for one in would["writes"]).lower()
    assert "would be forgotten" in run(*forget, "--dry-run").out
    assert run_json(run, "memories", "show", "alice", *place) == before
    gone = run_json(run, *forget)
    assert gone["writes"] == [one["id"] for one in would["writes"]]
    assert run_json(run, "memories", "verify", *place)["verified"].keys() == {
        "alice", "bob", "carol",
    }  # fmt: skip
    shown = run_json(run, "memories", "show", "alice", *place)
    (state,) = run_json(run, "memories", "history", "alice", *place)["states"]
    alone = ["memories", "forget", "alice", *place, *model, "--rebuild"]
    assert run_json(run, *alone, "--dry-run")["writes"] == []
    assert "has been written again" in run(*alone).out
    again = run_json(run, "memories", "show", "alice", *place)
    assert again["tokens"] == shown["tokens"]
    (rebuilt,) = run_json(run, "memories", "history", "alice", *place)["states"]
    assert rebuilt["commit"] > state["commit"]
    assert "bruno" not in run("memories", "show", "alice", *place).out.lower()
    run_json(run, "memories", "delete", "bob", *place)
    left = run_json(run, "memories", "list", *place)["memories"]
    assert [one["id"] for one in left] == ["alice", "carol"]


def test_people_get_words(run: Run, tmp_path: Path, place: list[object]) -> None:
    for arguments in (
        ("list",), ("show", "alice"), ("history", "alice"), ("fork", "alice", "bob"),
        ("verify",), ("export", "bob", tmp_path / "b.zip"), ("delete", "bob"),
    ):  # fmt: skip
        ran = run("memories", *arguments, *place)
        assert (ran.code, ran.err) == (0, "")
        assert "alice" in ran.out or "bob" in ran.out


def test_one_memory_is_shown_in_words(run: Run, place: list[object]) -> None:
    shown = run_json(run, "memories", "show", "alice", *place)
    lines = dict(
        line.split(": ", 1) for line in run("memories", "show", "alice", *place).out.splitlines()
    )
    assert lines["files"].split(", ") == shown["files"]
    assert lines["bytes"] == f"{shown['bytes']:,} ({shown['bytes'] / 1e6:.1f} MB)"
    assert lines["changed"].endswith(" (UTC)")


def test_a_file_saved_alone_is_not_imported_and_the_hint_says_how_it_is_used(
    run: Run, tmp_path: Path, tiny: Path, place: list[object]
) -> None:
    alone = tmp_path / "a.memory"
    assert run("tell", GATE, "--memory", alone, "--model", tiny).code == 0
    ran = run("memories", "import", alone, "--id", "bob", *place)
    assert ran.code == 4
    assert "is not an exported memory" in ran.err
    assert "memories export" in ran.err
    assert "--memory FILE" in ran.err


def test_a_place_that_is_no_store_is_called_by_what_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text(GATE)
    ran = run("memories", "list", "--store", tmp_path / "books")
    assert (ran.code, "is not a store of memories" in ran.err) == (4, True)
    assert "Memory.save" not in ran.err
    file = tmp_path / "books" / "a.txt"
    ran = run("tell", GATE, "--store", file, "--id", "bob")
    assert (ran.code, f"{file} is not a store of memories: it is a file" in ran.err) == (4, True)


def test_a_memory_is_made_with_rows_of_8_bits(run: Run, tmp_path: Path, tiny: Path) -> None:
    made = ("memories", "create", "bob", "--store", tmp_path / "s", "--rows", "int8")
    assert run_json(run, *made, "--model", tiny)["rows"] == "int8"
    assert run(*made, "--model", tiny).code == 2


def test_the_list_says_what_each_takes(run: Run, place: list[object]) -> None:
    (one,) = run_json(run, "memories", "list", *place)["memories"]
    assert one["bytes"] == run_json(run, "memories", "show", "alice", *place)["bytes"]
    assert "MB" in run("memories", "list", *place).out


@pytest.mark.long
def test_forgetting_what_is_not_there_says_so_and_lists_the_sources(
    run: Run, tmp_path: Path, tiny: Path, place: list[object]
) -> None:
    ran = run("memories", "forget", "alice", *place, "--model", tiny, "--source", "typo.txt")
    assert ran.code == 2
    assert "typo.txt" in ran.err
    assert str(tmp_path / "gate.txt") in ran.err
    ran = run("memories", "forget", "alice", *place, "--model", tiny, "--match", "absent words")
    assert ran.code == 2


def test_what_cannot_be_done_says_why(run: Run, tmp_path: Path, place: list[object]) -> None:
    store = tmp_path / "s"
    assert run("memories", "show", "bob", *place).code == 2
    assert run("memories", "list", "--store", tmp_path / "none").code == 2
    assert run("ask", "x?", "--store", store).code == 2
    assert run("ask", "x?", "--store", store, "--id", "alice", "--memory", "m").code == 2
    ran = run("memories", "rollback", "alice", 9_999, *place)
    assert ran.code == 2
    assert "history" in ran.err
    manifest = MemoryStore(store).manifest("alice")
    (log,) = (store / "memories").rglob(manifest.current.logs[-1].name)
    content = bytearray(log.read_bytes())
    content[-1] ^= 1
    log.write_bytes(content)
    ran = run("memories", "verify", *place)
    assert ran.code == 4
    assert log.name in ran.err


def test_a_damaged_memory_is_marked_among_the_others(run: Run, tmp_path: Path) -> None:
    store, manifests = MemoryStore(tmp_path / "s"), []
    for name in ("blue", "green", "red"):
        store.create(name, HOST).close()
        known = [path for path, _ in manifests]
        (new,) = set(tmp_path.glob("s/memories/*/manifest")) - set(known)
        manifests.append((new, new.read_bytes()))
    (_, (green, content), (red, _)) = manifests
    green.write_bytes(content[:-9] + b"?" + content[-8:])
    place = ("--store", tmp_path / "s")
    listed = run_json(run, "memories", "list", *place)["memories"]
    assert [one["id"] for one in listed] == ["blue", "green", "red"]
    assert ["damaged" in one for one in listed] == [False, True, False]
    assert "damaged" in run("memories", "list", *place).out
    red.write_bytes(b"?")
    told = run("memories", "list", *place)
    assert told.code == 0
    assert "1 more" in " ".join(told.err.split())
