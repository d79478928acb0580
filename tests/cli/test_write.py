"""``memplus write``: what it says of what it did, and nothing written twice."""

import os
from pathlib import Path

import pytest
from tests.cli.conftest import NOTE, QUESTION, Run

from memplus.cli import write as module
from memplus.store import MemoryStore


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text(NOTE)
    return path


def test_one_line_is_kept_and_said_to_be(run: Run, tmp_path: Path, note: Path) -> None:
    memory = tmp_path / "m.memory"
    ran = run("write", note, "-m", memory)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"13 tokens kept (not yet compressed); {memory} holds 13 tokens in ")


def test_a_file_that_is_there_is_skipped_and_named(run: Run, tmp_path: Path, note: Path) -> None:
    place = ("--store", tmp_path / "s", "--id", "a")
    run("write", note, *place)
    ran = run("write", note, *place)
    assert ran.code == 0
    assert ran.out.startswith("nothing new; a in ")
    assert f"{note} is already in the memory" in ran.err


def test_a_changed_file_is_refused_and_replaced_on_request(
    run: Run, tmp_path: Path, note: Path
) -> None:
    place = ("--store", tmp_path / "s", "--id", "a")
    run("write", note, *place)
    note.write_text(NOTE.replace("4821", "7310"))
    ran = run("write", note, *place)
    assert (ran.code, "--replace" in ran.err) == (2, True)
    assert run("ask", QUESTION, *place).out == "4821\n"
    ran = run("write", note, *place, "--replace")
    assert (ran.code, "is forgotten" in ran.err) == (0, True)
    assert run("ask", QUESTION, *place).out == "7310\n"


def test_a_file_whose_name_is_no_utf8_is_written(run: Run, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text(NOTE)
    place = ("--store", tmp_path / "s", "--id", "a")
    ran = run("write", path, *place, "--flush")
    assert (ran.code, ran.err) == (0, "")
    sources = run("inspect", *place, "--json").data["sources"]
    assert [one["source"] for one in sources] == [str(tmp_path / "caf\\xe9.txt")]


def test_a_large_writing_is_announced_with_bytes_per_token(
    run: Run, tmp_path: Path, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MUCH", 1000)
    ran = run("write", note, "-m", tmp_path / "m.memory")
    assert "(1.6 KB per token)" in ran.err
    assert "--max-bytes" in ran.err
    ran = run("write", note, "-m", tmp_path / "exact.memory", "--rows", "exact")
    assert "(3.1 KB per token)" in ran.err


def test_many_short_files_are_announced_and_refused_by_what_they_take(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(40)]
    for number, file in enumerate(files):
        file.write_text(f"Ann Lee's key {number} is {number}.")
    assert run("write", *files, "-m", tmp_path / "m.memory").code == 0
    size = run("inspect", "-m", tmp_path / "m.memory", "--json").data["bytes"]
    monkeypatch.setattr(module, "_MUCH", size * 3 // 10)
    monkeypatch.setattr(module, "_MOST", size * 8 // 10)
    ran = run("write", *files, "-m", tmp_path / "other.memory")
    assert ran.code == 2
    assert "tokens are to be written, which takes about" in ran.err
    assert "by default" in ran.err
    assert not (tmp_path / "other.memory").exists()


def test_the_default_limit_is_named_when_it_is_met(
    run: Run, tmp_path: Path, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 1000)
    ran = run("write", note, "-m", tmp_path / "m.memory")
    assert ran.code == 2
    assert "--max-bytes is 1e-06 GB by default" in ran.err
    assert not (tmp_path / "m.memory").exists()
    ran = run("write", note, "-m", tmp_path / "m.memory", "--max-bytes", 10**9)
    assert ran.code == 0
    monkeypatch.setattr(module, "_MOST", 10**9)
    assert run("write", note, "-m", tmp_path / "other.memory").code == 0


def test_a_large_writing_names_the_bytes_of_narrower_rows(
    run: Run, tmp_path: Path, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MUCH", 1)
    ran = run("write", note, "-m", tmp_path / "m.memory", "--rows", "int8")
    assert "with --rows int4" in ran.err
    assert "with --rows int8" not in ran.err
    ran = run("write", note, "-m", tmp_path / "4.memory", "--rows", "int4")
    assert "with --rows int2" in ran.err
    ran = run("write", note, "-m", tmp_path / "2.memory", "--rows", "int2")
    assert "with --rows" not in ran.err


def test_rows_of_8_bits_and_a_window_for_writing(run: Run, tmp_path: Path, note: Path) -> None:
    place = ("--store", tmp_path / "s", "--id", "a")
    assert run("write", note, *place, "--rows", "int8", "--durability", "relaxed").code == 0
    assert MemoryStore(tmp_path / "s").manifest("a").rows == "int8"
    assert run("write", note, *place, "--rows", "int4").code == 0
    assert MemoryStore(tmp_path / "s").manifest("a").rows == "int4"
    for wider in ("exact", "int8"):
        ran = run("write", note, *place, "--rows", wider)
        assert (ran.code, "keeps its rows as int4" in ran.err) == (2, True)
    for flag in ("--rows", "--durability"):
        ran = run("write", note, *place, flag, "odd")
        assert (ran.code, f"{flag} cannot be" in ran.err) == (2, True)


def test_a_pdf_is_refused_with_what_to_do(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.4\n1 0 obj\n")
    ran = run("write", path, "-m", tmp_path / "m.memory")
    assert (ran.code, "is a PDF document" in ran.err) == (2, True)
    assert "Extract its text first" in ran.err


def test_a_wrong_path_is_named_as_such(run: Run, tmp_path: Path) -> None:
    ran = run("write", tmp_path / "absent.txt", "-m", tmp_path / "m.memory")
    assert (ran.code, "There is no file" in ran.err) == (2, True)
