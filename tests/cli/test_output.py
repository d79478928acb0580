import json
import math
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memplus.cli import output as module
from memplus.cli.output import Output, print_piece
from memplus.errors import EmptyTextError, NotFiniteResultError


def show(console: Console) -> None:
    console.print("for people")


def test_json_result_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.note("working")
    out.result({"a": "é"}, show=show)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": "é"}
    assert captured.err == "working\n"


def test_text_result_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).result({"a": 1}, show=show)
    assert capsys.readouterr().out == "for people\n"


def test_error_is_message_and_hint_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    error = EmptyTextError("The file [red]x[/red]")
    Output(as_json=False).error(error)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {error.message}\n{error.hint}\n"


def test_error_as_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).error(EmptyTextError())
    body = json.loads(capsys.readouterr().out)["error"]
    assert body["type"] == "EmptyTextError"
    assert body["exit_code"] == 2


def test_an_error_after_the_document_is_told_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.result({"a": 1}, show=show)
    out.error(EmptyTextError())
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert captured.err.startswith("error: ")


def progress_lines(capsys: pytest.CaptureFixture[str]) -> str:
    with Output(as_json=False).progress() as report:
        for done in range(4):
            report("writing", done, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_short_work_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress_lines(capsys) == ""


def test_lasting_work_shows_a_bar_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", -1.0)
    assert "writing" in progress_lines(capsys)


def test_a_number_that_json_cannot_say_is_named_by_its_place() -> None:
    out = Output(as_json=True)
    with pytest.raises(NotFiniteResultError, match=r"answers\[1\].confidence"):
        out.result({"answers": [{"confidence": 1.0}, {"confidence": math.inf}]}, show=show)


def test_half_a_character_is_written_as_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).result({"path": "caf\udce9"}, show=show)
    assert json.loads(capsys.readouterr().out) == {"path": "caf\udce9"}


def test_what_others_wrote_commands_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    out, told = Output(as_json=False), "a\x1b[2Jb\x1b]0;c\x07\x9b\rd\u202ee\t\u00e9"
    table = Table(style="blue")
    table.add_row(told, style="red")

    def shown(act: Callable[[], None]) -> str:
        act()
        captured = capsys.readouterr()
        return captured.out + captured.err

    inside = "a\\x1b[2Jb\\x1b]0;c\\x07\\x9b\\x0dd\\u202ee"
    assert shown(lambda: out.line(told)).startswith(inside)
    assert shown(lambda: out.note(told)).startswith(inside)
    assert shown(lambda: print_piece(told)) == f"{inside}\té"
    cell = shown(lambda: out.result({}, show=lambda console: console.print(table)))
    assert f"\x1b[31m{inside}" in cell.replace("\x1b[31m ", "\x1b[31m")
    text = shown(lambda: out.result({}, show=lambda console: console.print(Text("a\x1b[2Jb"))))
    assert text == "a\\x1b[2Jb\n"
