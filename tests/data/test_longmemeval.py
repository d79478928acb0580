"""Files in the published format, small ones written here."""

import json
from pathlib import Path
from typing import Any

import pytest

from memplus.data.longmemeval import ChatTurn, read_longmemeval, records_of
from memplus.errors import BenchmarkFileError


def record(**changes: Any) -> dict[str, Any]:
    return {
        "question_id": "q1",
        "question_type": "multi-session",
        "question": "How many boats have I sold?",
        "answer": 2,
        "question_date": "2023/05/30 (Tue) 23:40",
        "haystack_session_ids": ["late", "early", "early"],
        "haystack_dates": [
            "2023/05/20 (Sat) 02:21", "2023/05/02 (Tue) 10:00", "2023/05/03 (Wed) 10:00"
        ],
        "haystack_sessions": [
            [{"role": "user", "content": "I sold the second boat.", "has_answer": True}],
            [
                {"role": "user", "content": "Hello."},
                {"role": "user", "content": "I sold a boat.", "has_answer": True},
            ],
            [{"role": "assistant", "content": "Hello again.", "has_answer": False}],
        ],
        "answer_session_ids": ["late", "early"],
    } | changes  # fmt: skip


def written(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "longmemeval_s.json"
    path.write_text(json.dumps(records))
    return path


def test_sessions_come_in_the_order_of_their_dates_each_with_a_name_of_its_own(
    tmp_path: Path,
) -> None:
    (history,) = read_longmemeval(written(tmp_path, record()))
    assert [one.id for one in history.sessions] == ["early", "early (2)", "late"]
    assert history.sessions[0].turns[1] == ChatTurn("user", "I sold a boat.")


def test_questions_keep_their_evidence_and_an_answer_that_is_a_number(tmp_path: Path) -> None:
    (one,) = read_longmemeval(written(tmp_path, record()))[0].questions
    assert one.answers == ("2",)
    assert one.sessions == ("late", "early")
    assert one.turns == (("early", 1), ("late", 0))
    assert not one.abstains


def test_what_nothing_answers_is_known_by_its_id(tmp_path: Path) -> None:
    (one,) = read_longmemeval(written(tmp_path, record(question_id="q1_abs")))[0].questions
    assert one.abstains


def test_questions_about_the_same_history_share_it(tmp_path: Path) -> None:
    other = record(question_id="q3", haystack_dates=["2023/05/21 (Sun) 02:21"] * 3)
    path = written(tmp_path, record(), record(question_id="q2"), other)
    first, second = read_longmemeval(path)
    assert [one.id for one in first.questions] == ["q1", "q2"]
    assert [one.id for one in second.questions] == ["q3"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    forms = {"answer": "two", "answer_forms": ["2"], "outdated_answer": "one"}
    (history,) = read_longmemeval(written(tmp_path, record(**forms), record(question_id="q2")))
    assert history.questions[0].answers == ("two", "2")
    assert history.questions[0].outdated == "one"
    again = written(tmp_path, *records_of(history))
    assert read_longmemeval(again) == [history]


@pytest.mark.parametrize(
    "changes",
    [
        {"question_type": "small-talk"},
        {"haystack_dates": []},
        {"haystack_sessions": [[{"role": "narrator", "content": "x"}], [], []]},
        {"answer_session_ids": None},
        {"haystack_sessions": [[], [], []]},
        {"haystack_sessions": [[{"role": "user", "content": 5}], [], []]},
        {"haystack_sessions": [{"role": "user"}, [], []]},
        {"haystack_dates": [1, 2, 3]},
        {"question": None},
        {"question_id": 7},
        {"answer": None},
        {"outdated_answer": ["one"]},
    ],
)
def test_another_file_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BenchmarkFileError, match="not a file of LongMemEval"):
        read_longmemeval(written(tmp_path, record(**changes)))


@pytest.mark.parametrize("text", ["[]", "{}", '{"question_id": 1}', "3", '"x"'])
def test_a_file_without_a_question_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "longmemeval_s.json"
    path.write_text(text)
    with pytest.raises(BenchmarkFileError, match="not a file of LongMemEval"):
        read_longmemeval(path)
