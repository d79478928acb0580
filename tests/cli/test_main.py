"""The entry point: exit codes, output on any encoding, and JSON that is JSON."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import NOTE, QUESTION, Run
from typer.main import get_command

from memplus.cli.main import app, main
from memplus.mplus.asking import Answer
from memplus.mplus.model import MPlus


def on_ascii(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> bytes:
    """What a command writes to a terminal that knows ASCII alone."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert ended.value.code == 0
    return written.getvalue()


def test_a_json_flag_that_is_off_in_the_environment_is_off(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMPLUS_JSON", "0")
    ran = run("ask", "--memory", "absent", "Why?")
    assert (ran.code, ran.out) == (2, "")
    monkeypatch.setenv("MEMPLUS_JSON", "1")
    assert run("ask", "--memory", "absent", "Why?").data["error"]["exit_code"] == 2


def test_a_json_flag_after_two_dashes_is_a_question(run: Run) -> None:
    ran = run("ask", "--memory", "absent", "--", "--json")
    assert (ran.code, ran.out) == (2, "")


def test_a_value_that_cannot_be_is_json_too(run: Run) -> None:
    ran = run("ask", "Why?", "--ram", "0", "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "UsageError")
    ran = run("memories", "show", "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "UsageError")


def test_an_unknown_flag_is_told_as_text(run: Run) -> None:
    ran = run("ask", "--nope")
    assert (ran.code, ran.out) == (2, "")
    assert "--nope" in ran.err


@pytest.mark.long
def test_characters_that_the_terminal_lacks_are_shown_as_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ("--memory", tmp_path / "m.memory")
    on_ascii(monkeypatch, "tell", NOTE, *memory, "--source", "caf\xe9.txt")
    asked = ("ask", QUESTION, *memory, "--evidence")
    assert rb"caf\xe9.txt" in on_ascii(monkeypatch, *asked)
    as_json = on_ascii(monkeypatch, *asked, "--json")
    assert json.loads(as_json)["evidence"][0]["source"] == "caf\xe9.txt"


def test_a_number_that_is_none_is_an_error_and_not_bad_json(
    run: Run, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Answer("4821", confidence=float("nan"))
    monkeypatch.setattr(MPlus, "ask", lambda *given, **options: [answer])
    ran = run("ask", QUESTION, "--memory", told, "--json")
    assert (ran.code, ran.data["error"]["type"]) == (1, "NotFiniteResultError")
    assert "confidence" in ran.data["error"]["message"]


def test_a_reader_that_goes_away_is_no_failure_worth_a_word(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memplus.cli.main", "models", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 141


def in_a_shell(line: str) -> tuple[int, str]:
    """Exit code and stderr of a command with redirections."""
    command = f"{sys.executable} -m memplus.cli.main {line}"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is full")
@pytest.mark.parametrize("shown", ["models", "models --json", "--version", "--help"])
def test_an_output_that_is_full_is_one_clear_error(shown: str) -> None:
    code, said = in_a_shell(f"{shown} >/dev/full")
    assert code == 1
    assert said.startswith("error: Standard output cannot be used: No space left on device.\n")
    assert "Traceback" not in said


def test_an_output_that_takes_nothing_keeps_no_error_from_being_told() -> None:
    code, said = in_a_shell("memories show nosuch --store /nosuch/store --json >&-")
    assert (code, said.splitlines()[0]) == (
        2,
        "error: There is no store of memories /nosuch/store.",
    )


@pytest.mark.parametrize("line", ["ask --questions - <&-", "mcp --store STORE <&-"])
def test_a_closed_input_is_one_clear_error(tmp_path: Path, line: str) -> None:
    code, said = in_a_shell(line.replace("STORE", str(tmp_path / "store")))
    assert code == 1
    assert said.startswith("error: Standard input cannot be used: it is closed.\n")
    assert "Traceback" not in said


def test_a_closed_output_is_one_clear_error() -> None:
    code, said = in_a_shell("models >&-")
    assert (code, said.count("\n")) == (1, 2)
    assert said.startswith("error: Standard output cannot be used: it is closed.\n")


def test_a_reader_of_the_help_that_goes_away_ends_with_141() -> None:
    command = [sys.executable, "-m", "memplus.cli.main", "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_ends_with_130(run: Run, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MPlus, "ask", pressed)
    ran = run("ask", QUESTION, "--memory", told)
    assert (ran.code, ran.out) == (130, "")


def test_the_version_and_the_help_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "--install-completion" in capsys.readouterr().out


def without_json(command: Any, name: str = "") -> Iterator[str]:
    """Names of the commands that do not take ``--json``."""
    for own, child in getattr(command, "commands", {}).items():
        yield from without_json(child, f"{name} {own}".strip())
    runs = not getattr(command, "commands", {})
    if runs and not any("--json" in one.opts for one in command.params):
        yield name


def test_every_command_but_the_servers_takes_json() -> None:
    assert list(without_json(get_command(app))) == ["serve", "mcp"]
