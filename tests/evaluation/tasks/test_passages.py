import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.conftest import words

from memplus import MPlus
from memplus.errors import ConfigError, NotFoundError, QuestionSetError
from memplus.evaluation.engine.run import LONG_TERM, InMemory, run_plans
from memplus.evaluation.tasks.passages import (
    PROTOCOL,
    Asked,
    QuestionSet,
    passage_plans,
    read_questions,
)
from memplus.evaluation.tasks.retention import RetentionSizes


def encode(text: str) -> list[int]:
    return words([text])[0]


def paragraph(context: str, *asked: tuple[str, list[str]]) -> dict[str, Any]:
    qas = [
        {"question": q, "answers": [{"text": a} for a in answers], "is_impossible": not answers}
        for q, answers in asked
    ]
    return {"context": context, "qas": qas}


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Oil",
            "paragraphs": [
                paragraph("It began in May.", ("When?", ["May", "May", "in May of that year"])),
                paragraph("It was long ago and far away in the hills.", ("Who?", [])),
            ],
        },
        {"title": "Tea", "paragraphs": [paragraph("Tea is green.", ("Which?", ["green"]))]},
        {"title": "May", "paragraphs": [paragraph("May is a month.", ("What?", ["a month"]))]},
    ],
}
NATURAL = [
    {"question": q, "answers": [a], "ctxs": [{"title": title, "text": text}]}
    for q, a, title, text in (
        ("who won", "Ann Lee", "A", "Ann Lee won."),
        ("where", "far off", "B", "It is far off."),
    )
]


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
    assert found.questions[1] == Asked("where", ("far off",), "It is far off.", "B")
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


def test_only_short_answers_are_asked_for(squad: Path) -> None:
    short = read_questions(squad).short(encode)
    assert short.questions[0].answers == ("May",)
    assert [one.question for one in read_questions(squad, 1).short(encode).questions] == [
        "When?", "Which?",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="longest_answer"):
        QuestionSet([Asked("q", ("far too long",), "p", "t")], 1, "").short(encode)


def test_the_passage_comes_first_and_unrelated_ones_follow(squad: Path) -> None:
    plans = passage_plans(read_questions(squad), encode, RetentionSizes(9, (0, 3, 20)), seed=0)
    assert len(plans) == 3
    by_question = {plan.once[0].text: plan for plan in plans}
    plan = by_question["When?"]
    assert list(plan.steps[0].ids) == encode("It began in May.")
    # The other passage on oil is of its topic, and the one on May holds the answer.
    assert {tuple(step.ids) for step in plan.steps[1:]} == {tuple(encode("Tea is green."))}
    written = 0
    for index, step in enumerate(plan.steps):
        written += len(step.ids) if index else 0
        for one in step.questions:
            assert one.wanted is not None
            assert one.distance == written
            assert one.wanted <= written < one.wanted + 3
            assert one.told is not None
            assert (one.told.source, one.told.end) == ("passage", 4)
    assert [one.wanted for one in plan.questions] == [0, 3, 20]
    assert plan.steps[-1].questions


def test_a_set_of_one_topic_has_nothing_unrelated(squad: Path) -> None:
    found = read_questions(squad)
    alone = QuestionSet(found.questions[:1], 3, "")
    with pytest.raises(ConfigError, match="no passage is unrelated"):
        passage_plans(alone, encode, RetentionSizes(1, (0,)), seed=0)


def test_answers_are_of_ten_tokens_and_judged_by_containment(model: MPlus, squad: Path) -> None:
    plans = passage_plans(read_questions(squad, 9), model.encode, RetentionSizes(2, (0, 20)), 0)
    recorder = InMemory()
    run_plans(model, plans, PROTOCOL, recorder, lambda what, done, of: None)
    asked = [line for line in recorder.lines if line["key"] != "end"]
    assert len(asked) == 2 * (1 + 2 * 2)
    assert any(line["method"] == LONG_TERM and line["rows"] for line in asked if line["wanted"])
    # A byte a token, and letters of several bytes: never more letters than tokens.
    assert max(len(line["said"]) for line in asked) == PROTOCOL.max_new_tokens == 10
    for line in asked:
        assert line["right"] == any(
            answer.casefold() in " ".join(line["said"].casefold().split())
            for answer in line["answers"]
        )
