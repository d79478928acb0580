"""``memplus tell``: a sentence is remembered without a file."""

from pathlib import Path

import pytest
from tests.cli.conftest import NOTE, QUESTION, Run

from memplus.cli import write as writing


def test_what_was_told_is_answered_from_the_user_s_own_store(run: Run, own_store: Path) -> None:
    ran = run("tell", NOTE)
    assert ran.code == 0
    assert "tokens kept (not yet compressed); default holds" in ran.out
    assert (own_store / "store").is_file()
    assert run("ask", QUESTION).out == "4821\n"


def test_several_sentences_and_a_source(run: Run, tmp_path: Path) -> None:
    place = ("--memory", tmp_path / "m.memory")
    data = run(
        "tell", NOTE, "Bo Lind's ring metal is tin.", *place, "--source", "mail", "--json"
    ).data
    assert data["source"] == "mail"
    assert data["taken"] == data["waiting"] + data["total_tokens"]
    answers = run("ask", QUESTION, "What is Bo Lind's ring metal?", *place, "--json").data[
        "answers"
    ]
    assert [one["text"] for one in answers] == ["4821", "tin"]


def test_the_same_sentence_told_twice_is_kept_twice(run: Run, tmp_path: Path) -> None:
    place = ("--memory", tmp_path / "m.memory")
    first = run("tell", NOTE, *place, "--json").data["waiting"]
    again = run("tell", NOTE, *place, "--json").data
    assert again["waiting"] + again["total_tokens"] == 2 * first


def test_nothing_to_tell_is_refused_before_a_memory_is_made(run: Run, tmp_path: Path) -> None:
    ran = run("tell", NOTE, "  ", "--memory", tmp_path / "m.memory")
    assert (ran.code, list(tmp_path.glob("*.memory"))) == (2, [])
    assert "is empty" in ran.err


def test_the_default_limit_of_write_is_that_of_tell(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--memory", tmp_path / "m.memory")
    monkeypatch.setattr(writing, "_MOST", 1000)
    ran = run("tell", NOTE, *place)
    assert (ran.code, list(tmp_path.glob("*.memory"))) == (2, [])
    assert "--max-bytes is 1e-06 GB by default" in ran.err
    assert run("tell", NOTE, *place, "--max-bytes", 10**9).code == 0
