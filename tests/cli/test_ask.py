"""``memplus ask``: one question, many, streamed, and what is withheld."""

import io
import json
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import QUESTION, Run
from tests.fakes import make_mplus
from tests.passes.test_span_queries import SPANS

from memplus.cli.main import main
from memplus.mplus.asking import Answer
from memplus.mplus.model import MPlus

OTHER = "What is Odile Quillfeather's shoe size?"


def test_one_question_gives_the_answer_alone(run: Run, told: Path) -> None:
    ran = run("ask", QUESTION, "--memory", told)
    assert (ran.code, ran.out, ran.err) == (0, "4821\n", "")


def test_evidence_names_the_source_and_no_rows_of_the_model(run: Run, told: Path) -> None:
    ran = run("ask", QUESTION, "--memory", told, "--evidence")
    assert "notes.txt, tokens 0 to 11, characters" not in ran.out
    assert "notes.txt, tokens 0 to 11, not yet compressed" in ran.out
    assert "locker code is 4821." in ran.out
    assert "came with the model" not in ran.out


def test_several_questions_are_answered_in_order(run: Run, told: Path, tmp_path: Path) -> None:
    ran = run("ask", QUESTION, OTHER, "--memory", told)
    lines = ran.out.splitlines()
    assert lines[:2] == [QUESTION, "  4821"]
    assert lines[2] == OTHER
    file = tmp_path / "questions.txt"
    file.write_text(f"{QUESTION}\n\n  {OTHER}\n")
    listed = run("ask", "--questions", file, "--memory", told, "--json").data["answers"]
    assert [one["question"] for one in listed] == [QUESTION, OTHER]
    assert listed[0]["text"] == "4821"


def test_a_file_of_one_question_still_gives_a_list(run: Run, told: Path, tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text(QUESTION)
    assert len(run("ask", "--questions", file, "--memory", told, "--json").data["answers"]) == 1


def test_what_the_model_is_not_sure_of_is_withheld(run: Run, told: Path) -> None:
    ran = run("ask", QUESTION, "--memory", told, "--min-confidence", 1, "--json")
    assert ran.data["withheld"] == "4821"
    assert ran.data["text"] == "I have no note of that."
    ran = run("ask", QUESTION, "--memory", told, "--min-confidence", 1)
    assert "withheld, confidence" in ran.out


def test_what_the_model_s_own_threshold_withholds_is_shown_on_request_only(
    run: Run, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsure = Answer("I have no note of that.", confidence=0.2, withheld="7310")
    monkeypatch.setattr(MPlus, "ask", lambda *given, **options: [unsure])
    assert run("ask", QUESTION, "--memory", told).out == "I have no note of that.\n"
    assert (
        "withheld, confidence 0.20: 7310"
        in run("ask", QUESTION, "--memory", told, "--evidence").out
    )


def test_no_question_and_absent_questions_are_usage_errors(run: Run, told: Path) -> None:
    assert run("ask", "--memory", told).code == 2
    ran = run("ask", "--questions", "absent.txt", "--memory", told)
    assert (ran.code, "There is no file absent.txt" in ran.err) == (2, True)


def test_a_question_that_is_no_text_is_refused_by_name(run: Run, told: Path) -> None:
    ran = run("ask", "caf\udce9?", "--memory", told, "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "BrokenTextError")


class Terminal(io.TextIOWrapper):
    """Standard output that says it is a terminal, and remembers what came at a time."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.pieces: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


def asked_on_a_terminal(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> list[str]:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit) as ended:
        main(["ask", *map(str, arguments)])
    assert ended.value.code == 0
    return terminal.pieces


def test_an_answer_is_streamed_to_a_terminal(monkeypatch: pytest.MonkeyPatch, told: Path) -> None:
    pieces = asked_on_a_terminal(monkeypatch, QUESTION, "--memory", told)
    assert "".join(pieces) == "4821\n"
    assert len(pieces) > 2  # two tokens of digits, and the end of the line


def test_json_on_a_terminal_is_whole(monkeypatch: pytest.MonkeyPatch, told: Path) -> None:
    pieces = asked_on_a_terminal(monkeypatch, QUESTION, "--memory", told, "--json")
    assert json.loads("".join(pieces))["text"] == "4821"


def test_evidence_of_spans_quotes_the_span_and_not_the_whole_write(
    run: Run, tmp_path: Path
) -> None:
    text = "It rained all day. Ada likes red pears. The train came late, and nobody minded. " * 2
    (tmp_path / "diary.txt").write_text(text)
    make_mplus(config=SPANS).save_pretrained(tmp_path / "model")
    place = ("--model", tmp_path / "model", "--store", tmp_path / "s", "--id", "a")
    assert run("write", tmp_path / "diary.txt", *place).code == 0
    ran = run("ask", "What does Ada like?", *place, "--evidence", "--max-new-tokens", 2, "--json")
    found = ran.data["evidence"]
    assert any(one["score"] is not None for one in found)
    for one in found:
        if one["write_id"] is not None:
            assert one["tokens"] == SPANS.span_rows
            assert one["text"] == text[one["first_char"] :][: len(one["text"])]
            assert 0 < len(one["text"]) <= SPANS.span_rows
