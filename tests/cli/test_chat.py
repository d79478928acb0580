"""``memplus chat``: what a person sees."""

import io
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import NOTE, QUESTION, Run


def test_a_statement_is_noted_and_a_question_answered(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--memory", tmp_path / "m.memory")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NOTE}\n\n{QUESTION}\n"))
    ran = run("chat", *place)
    assert (ran.code, ran.out) == (0, "noted\n4821\n")
    assert run("ask", QUESTION, *place).out == "4821\n"


def test_a_line_that_is_no_text_is_refused_by_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("caf\udce9?\n"))
    ran = run("chat", "--memory", tmp_path / "m.memory", "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "BrokenTextError")


def test_what_was_said_before_a_line_that_is_refused_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--memory", tmp_path / "m.memory")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NOTE}\ncaf\udce9?\n"))
    assert run("chat", *place).code == 2
    assert run("ask", QUESTION, *place).out == "4821\n"
