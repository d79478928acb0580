import gzip
import json
from pathlib import Path

import pytest
from tests.data.question_sets import NATURAL, SQUAD

from memplus.data.questions import Asked, QuestionSet, read_questions
from memplus.errors import ConfigError, NotFoundError, QuestionSetError, StorageError


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps(SQUAD).encode()))
    return path


def test_squad_is_read(squad: Path) -> None:
    found = read_questions(squad)
    assert found.longest_answer == 3
    assert [one.question for one in found.questions] == ["When?", "Which?", "What?"]
    first = found.questions[0]
    assert first == Asked("When?", ("May", "in May of that year"), "It began in May.", "Oil")


def test_natural_questions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "nq.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in NATURAL))
    found = read_questions(path)
    assert found.longest_answer == 4
    assert found.questions[1] == Asked("where", ("far off",), "B. It is far off.", "B")
    assert read_questions(path, 7).longest_answer == 7


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", "not json", '{"data": [{"title": 3}]}'])
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_text(text)
        if name == "a.json" or text:
            with pytest.raises(QuestionSetError):
                read_questions(tmp_path / name)
    with pytest.raises(NotFoundError):
        read_questions(tmp_path / "absent.json")


def count(text: str) -> int:
    return len(text.split())


def test_only_short_answers_are_asked_for(squad: Path) -> None:
    short = read_questions(squad).short(count)
    assert short.questions[0].answers == ("May",)
    assert [one.question for one in read_questions(squad, 1).short(count).questions] == [
        "When?", "Which?",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="longest_answer"):
        QuestionSet([Asked("q", ("far too long",), "p", "t")], 1, "").short(count)


_WHOLE = gzip.compress(b"{}", mtime=0)
"""Without the time of day: all processes that collect tests have to name them alike."""


@pytest.mark.parametrize(
    "data", [b"\x1f\x8b cut", _WHOLE[:-4], _WHOLE[:12] + b"\0" * 9], ids=["no", "cut", "torn"]
)
def test_a_broken_archive_is_said_to_be_one(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "dev.json.gz"
    path.write_bytes(data)
    with pytest.raises(StorageError, match="whole gzip archive"):
        read_questions(path)
