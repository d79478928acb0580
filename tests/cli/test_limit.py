"""``--max-bytes``: refused before anything is written, kept with what was written, and shown."""

from pathlib import Path

import pytest
from tests.cli.conftest import NOTE, Run

AMPLE = 50_000_000


@pytest.fixture
def place(tmp_path: Path) -> tuple[object, ...]:
    return "--store", tmp_path / "store", "--id", "ann"


@pytest.mark.parametrize("command", [("tell", NOTE, "--id", "ann"), ("memories", "create", "ann")])
def test_a_limit_below_an_empty_memory_is_refused_with_its_size(
    run: Run, tmp_path: Path, command: tuple[object, ...]
) -> None:
    ran = run(*command, "--max-bytes", 100, "--store", tmp_path / "store")
    assert ran.code == 2
    assert (
        "MB) with its short-term pool full, before any more text, but its limit is 100 bytes"
        in ran.err
    )
    assert "`--max-bytes`" in ran.err
    assert not list((tmp_path / "store").glob("memories/*"))


def test_a_refused_first_write_leaves_neither_a_memory_nor_its_limit(
    run: Run, tmp_path: Path, place: tuple[object, ...]
) -> None:
    note = tmp_path / "note.txt"
    note.write_text(f"{NOTE} " * 30)
    empty = run("memories", "create", "bo", "--store", tmp_path / "store", "--json")
    assert empty.code == 0
    size = run("inspect", "--store", tmp_path / "store", "--id", "bo", "--json").data["bytes"]
    ran = run("write", note, *place, "--max-bytes", size + 50_000)
    assert ran.code == 2
    listed = run("memories", "list", "--store", tmp_path / "store", "--json").data["memories"]
    assert [one["id"] for one in listed] == ["bo"]
    assert run("write", note, *place).code == 0


def test_a_refused_limit_leaves_a_memory_with_the_one_that_it_had(
    run: Run, tmp_path: Path, place: tuple[object, ...]
) -> None:
    assert run("tell", NOTE, *place, "--max-bytes", AMPLE).code == 0
    assert run("tell", NOTE, *place, "--max-bytes", 100).code == 2
    assert run("inspect", *place, "--json").data["max_bytes"] == AMPLE
    path = tmp_path / "m.memory"
    assert run("tell", NOTE, "--memory", path, "--max-bytes", AMPLE).code == 0
    assert run("tell", NOTE, "--memory", path, "--max-bytes", 100).code == 2
    assert run("inspect", "--memory", path, "--json").data["max_bytes"] == AMPLE


def test_a_limit_that_is_given_later_is_kept_and_shown(
    run: Run, tmp_path: Path, place: tuple[object, ...]
) -> None:
    assert run("tell", NOTE, *place).code == 0
    shown = ("memories", "show", "ann", "--store", tmp_path / "store")
    assert "max_bytes: no limit\n" in run(*shown).out
    assert run("tell", NOTE, *place, "--max-bytes", AMPLE).code == 0
    assert "max_bytes: 50,000,000 (50.0 MB)\n" in run(*shown).out
    assert "of at most 50.0 MB" in run("inspect", *place).out
