import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from memplus.data.locomo import read_known_errors, read_locomo
from memplus.errors import BenchmarkFileError, NotFoundError

FOUND: list[dict[str, Any]] = [
    {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ada",
            "speaker_b": "Ben",
            "session_10_date_time": "9:00 am on 2 June, 2023",
            "session_10": [
                {"speaker": "Ben", "dia_id": "D10:1", "text": "Look!", "blip_caption": "a boat"},
            ],
            "session_2_date_time": "1:56 pm on 8 May, 2023",
            "session_2": [
                {"speaker": "Ada", "dia_id": "D2:1", "text": "I sold the boat."},
                {"speaker": "Ben", "dia_id": "D2:2", "text": "To whom?"},
            ],
            "session_11_date_time": "9:00 am on 3 June, 2023",
            "session_11": [],
        },
        "qa": [
            {"question": "What was sold?", "answer": "a boat", "evidence": ["D2:1"], "category": 4},
            {"question": "When?", "answer": 2023, "evidence": ["D:2:1; D10:1", "D"], "category": 2},
            {
                "question": "Why did Ben sell it?",
                "adversarial_answer": "for money",
                "answer": "No",
                "evidence": ["D9:9"],
                "category": 5,
            },
        ],
    }
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "locomo10.json.gz"
    path.write_bytes(gzip.compress(json.dumps(FOUND).encode()))
    return path


def test_sessions_come_in_the_order_of_their_numbers_and_empty_ones_not_at_all(path: Path) -> None:
    (found,) = read_locomo(path)
    assert (found.id, found.speakers) == ("conv-1", ("Ada", "Ben"))
    assert [one.number for one in found.sessions] == [2, 10]
    assert found.sessions[0].date == "1:56 pm on 8 May, 2023"
    turns = [turn for session in found.sessions for turn in session.turns]
    assert [turn.id for turn in turns] == ["D2:1", "D2:2", "D10:1"]
    assert [turn.picture for turn in turns] == ["", "", "a boat"]


def test_questions_keep_their_place_and_what_has_no_answer_has_none(path: Path) -> None:
    questions = read_locomo(path)[0].questions
    assert [one.index for one in questions] == [0, 1, 2]
    assert [one.answer for one in questions] == ["a boat", "2023", ""]


def test_evidence_is_cleaned_of_what_leads_nowhere(path: Path) -> None:
    questions = read_locomo(path)[0].questions
    assert [one.evidence for one in questions] == [("D2:1",), ("D2:1", "D10:1"), ()]


@pytest.mark.parametrize(
    "text",
    ["[{}]", "{", "[1]", "[]", "{}", "3", '[{"sample_id": "a", "qa": [], "conversation": {}}]'],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BenchmarkFileError, match=r"a\.json is not a file of LoCoMo"):
        read_locomo(path)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("conversation", {"session_2": [], "session_10": []}),
        ("conversation", {"session_2": [{"speaker": "Ada", "dia_id": "D2:1", "text": 5}]}),
        ("conversation", {"session_2": {"speaker": "Ada", "dia_id": "D2:1", "text": "x"}}),
        ("conversation", {"session_2_date_time": None}),
        ("conversation", {"speaker_a": 1}),
        ("qa", {"question": None}),
        ("qa", {"answer": None}),
    ],
)
def test_a_field_of_another_kind_is_refused(
    tmp_path: Path, part: str, changes: dict[str, Any]
) -> None:
    path = tmp_path / "a.json"
    record = copy.deepcopy(FOUND[0])
    (record[part] if part == "conversation" else record[part][0]).update(changes)
    path.write_text(json.dumps([record]))
    with pytest.raises(BenchmarkFileError, match=r"a\.json is not a file of LoCoMo"):
        read_locomo(path)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_locomo(tmp_path / "no.json")


def test_known_errors_are_those_of_answers_not_of_places(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    found = [
        {"question_id": "locomo_0_qa1", "error_type": "WRONG_CITATION"},
        {"question_id": "locomo_3_qa12", "error_type": "HALLUCINATION"},
    ]
    path.write_text(json.dumps(found))
    assert read_known_errors(path) == {(3, 12)}
    path.write_text(json.dumps([{"question_id": "qa1", "error_type": "AMBIGUOUS"}]))
    with pytest.raises(BenchmarkFileError):
        read_known_errors(path)
