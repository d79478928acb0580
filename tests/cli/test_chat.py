"""``memplus chat``: what a person sees."""

import errno
import io
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import NOTE, QUESTION, Run

from memplus.cli.output import INTERRUPTED
from memplus.sessions.conversation import Conversation


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


def test_an_input_that_takes_no_bytes_but_text_loses_no_line_before_them(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--memory", tmp_path / "m.memory")
    said = io.BytesIO(f"{NOTE}\n".encode() + b"caf\xe9?\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(said, encoding="utf-8", errors="strict"))
    ran = run("chat", *place)
    assert (ran.code, ran.out) == (2, "noted\n")
    assert ran.err.startswith("error: The message is not valid text: it holds U+DCE9 at character")
    assert run("ask", QUESTION, *place).out == "4821\n"


class Closed(io.StringIO):
    """An input that is closed, or an output, after so many lines."""

    def __init__(self, text: str = "", after: int = 0) -> None:
        super().__init__(text)
        self.left = after

    def readline(self, size: int | None = -1, /) -> str:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return super().readline() if size is None else super().readline(size)

    def flush(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_what_was_said_before_the_input_failed_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--memory", tmp_path / "m.memory")
    monkeypatch.setattr(sys, "stdin", Closed(f"{NOTE}\n", after=1))
    ran = run("chat", *place)
    assert ran.code == 1
    assert ran.err.startswith("error: Standard input cannot be used: it is closed.\n")
    assert run("ask", QUESTION, *place).out == "4821\n"


def test_what_was_written_before_ctrl_c_in_the_last_writes_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, written = ("--memory", tmp_path / "m.memory"), []
    whole = Conversation._write_oldest

    def stopped_at_the_second(talk: Conversation) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(talk.turns[0])
        whole(talk)

    monkeypatch.setattr(Conversation, "_write_oldest", stopped_at_the_second)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NOTE}\n{NOTE.replace('4821', '1177')}\n"))
    assert run("chat", *place).code == INTERRUPTED
    assert run("ask", QUESTION, *place).out == "4821\n"


def test_what_was_said_before_the_reader_went_away_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--memory", tmp_path / "m.memory")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NOTE}\n"))
    with monkeypatch.context() as within:
        within.setattr(sys, "stdout", Closed())
        assert run("chat", *place).code == 141
    assert run("ask", QUESTION, *place).out == "4821\n"


class Terminal(io.StringIO):
    """An output that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_reply_is_written_as_it_comes_and_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NOTE}\n{QUESTION}\n"))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("chat", "--memory", tmp_path / "m.memory").code == 0
    assert terminal.getvalue() == "noted\n4821\n"


def test_a_later_conversation_over_the_same_memory_knows_what_was_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--store", tmp_path / "store", "--id", "ana")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NOTE}\n"))
    assert run("chat", *place).out == "noted\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n"))
    assert run("chat", *place).out == "4821\n"
    other = ("--store", tmp_path / "store", "--id", "bo")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n"))
    assert run("chat", *other).out != "4821\n"
