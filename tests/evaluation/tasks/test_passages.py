import gzip
import json
from pathlib import Path

import pytest
from tests.data.question_sets import SQUAD
from tests.evaluation.conftest import silent, words

from memplus.data.questions import Asked, QuestionSet, read_questions
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.tasks.passages import PROTOCOL, passage_plans
from memplus.evaluation.tasks.retention import RetentionSizes


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps(SQUAD).encode()))
    return path


def test_the_passage_comes_first_and_unrelated_ones_follow(squad: Path) -> None:
    plans = passage_plans(read_questions(squad), words, RetentionSizes(9, (0, 3, 20)), seed=0)
    assert len(plans) == 3
    by_question = {plan.once[0].text: plan for plan in plans}
    plan = by_question["When?"]
    assert plan.steps[0].pieces == ("It began in May.",)
    # The other passage on oil is of its topic, and the one on May holds the answer.
    assert {step.pieces for step in plan.steps[1:]} == {("Tea is green.",)}
    written = 0
    for index, step in enumerate(plan.steps):
        assert step.flush
        written += step.tokens if index else 0
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
        passage_plans(alone, words, RetentionSizes(1, (0,)), seed=0)


def test_a_question_whose_answer_stands_in_every_passage_is_left_out(squad: Path) -> None:
    known = read_questions(squad).questions
    letter = Asked("Which letter comes first?", ("a",), "The first letter is a.", "letters")
    asked = [
        {plan.once[0].text for plan in passage_plans(one, words, RetentionSizes(9, (0,)), seed=0)}
        for one in (QuestionSet(known, 3, ""), QuestionSet([*known, letter], 3, ""))
    ]
    assert asked[0] == asked[1] != set()


def test_answers_are_of_ten_tokens_and_judged_by_containment(bench: Bench, squad: Path) -> None:
    plans = passage_plans(read_questions(squad, 9), bench.reference, RetentionSizes(2, (0, 20)), 0)
    recorder = InMemory()
    run_plans(bench.systems, plans, PROTOCOL, recorder, silent)
    asked = [line for line in recorder.lines if line["key"] != "end"]
    assert len(asked) == 2 * (1 + 2 * 2)
    assert any(line["system"] == "mplus" and line["rows"] for line in asked if line["wanted"])
    # A byte a token, and letters of several bytes: never more letters than tokens.
    assert max(len(line["said"]) for line in asked) == PROTOCOL.max_new_tokens == 10
    for line in asked:
        assert line["right"] == any(
            answer.casefold() in " ".join(line["said"].casefold().split())
            for answer in line["answers"]
        )
