"""Plans of a small conversation, and scores worked out by hand."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from memplus.errors import ConfigError, MissingDataError
from memplus.evaluation.engine.figures import Figure
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.run import judged
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.locomo import CONVERSATIONS, KNOWN_ERRORS, LocomoTask
from memplus.systems.protocol import Reply

TALK = {
    "speaker_a": "Ada",
    "speaker_b": "Ben",
    "session_1_date_time": "1:56 pm on 8 May, 2023",
    "session_1": [
        {"speaker": "Ada", "dia_id": "D1:1", "text": "I sold the boat."},
        {"speaker": "Ben", "dia_id": "D1:2", "text": "To whom?", "blip_caption": "a red sail"},
    ],
    "session_2_date_time": "9:00 am on 2 June, 2023",
    "session_2": [{"speaker": "Ada", "dia_id": "D2:1", "text": "To Eve, and a tent to Max."}],
}
ASKED = [
    {"question": "What did Ada sell?", "answer": "boat, tent", "evidence": ["D1:1"], "category": 1},
    {"question": "When?", "answer": "May 2023", "evidence": ["D1:1"], "category": 2},
    {"question": "Is Ada rich?", "answer": "Yes; she sells", "evidence": [], "category": 3},
    {"question": "To whom?", "answer": "Eve", "evidence": ["D2:1", "D1:2"], "category": 4},
    {"question": "Why did Ben sell?", "adversarial_answer": "money", "evidence": [], "category": 5},
]


def words(texts: list[str]) -> list[list[int]]:
    return [[found.end() for found in re.finditer(r"\s*\S+\s*", text)] for text in texts]


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    path = tmp_path / CONVERSATIONS.path
    path.parent.mkdir()
    found = {"sample_id": "conv-1", "conversation": TALK, "qa": ASKED}
    path.write_bytes(gzip.compress(json.dumps([found]).encode()))
    return Inputs(tmp_path, words, 4, lambda: ())


@pytest.fixture
def plan(inputs: Inputs) -> Plan:
    (found,) = LocomoTask().plans(inputs)
    return found


def test_sessions_are_written_in_order_with_their_dates_and_speakers(plan: Plan) -> None:
    assert [step.source for step in plan.steps] == ["session 1", "session 2"]
    assert "".join(plan.steps[0].pieces) == (
        "Ada and Ben talk, 1:56 pm on 8 May, 2023.\n"
        "Ada: I sold the boat.\n"
        "Ben: To whom? [shows a red sail]\n"
    )
    assert [step.tokens for step in plan.steps] == [
        len("".join(step.pieces).split()) for step in plan.steps
    ]


def test_a_turn_of_a_session_is_what_both_say_and_its_heading_belongs_to_the_first(
    plan: Plan,
) -> None:
    assert [step.turns for step in plan.steps] == [((2, 1),), ((2, 0),)]


def test_of_the_first_sessions_only_what_these_answer_is_asked(inputs: Inputs) -> None:
    (plan,) = LocomoTask(sessions=1).plans(inputs)
    assert [step.source for step in plan.steps] == ["session 1"]
    assert [one.key for one in plan.steps[-1].questions] == ["qa0", "qa1"]
    (whole,) = LocomoTask(sessions=2).plans(inputs)
    assert [one.key for one in whole.once] == ["qa0", "qa1", "qa3"]
    with pytest.raises(ConfigError, match="sessions"):
        LocomoTask(sessions=-1)


def test_everything_is_asked_after_the_last_session(plan: Plan) -> None:
    assert plan.steps[0].questions == ()
    asked = plan.steps[1].questions
    assert [one.text for one in asked] == [one["question"] for one in ASKED]
    assert [one.key for one in plan.once] == ["qa0", "qa1", "qa2", "qa3", "qa4"]
    assert [one.answers for one in asked] == [
        ("boat", "tent"), ("May 2023",), ("Yes",), ("Eve",), ()
    ]  # fmt: skip


def test_evidence_is_where_the_turns_stand_in_their_session(plan: Plan) -> None:
    whom = plan.steps[1].questions[3]
    first, second = whom.evidence
    assert (first.source, second.source) == ("session 2", "session 1")
    for place, text in ((first, "Ada: To Eve, and a tent to Max."), (second, "Ben: To whom?")):
        step = plan.steps[int(place.source[-1]) - 1]
        told = " ".join("".join(step.pieces).split()[place.start : place.end])
        assert told.startswith(text)


def lines_of(plan: Plan, said: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    found = []
    for one in plan.steps[-1].questions:
        reply = Reply(said.get(one.key, ""), declined=one.key not in said)
        found.append(judged(LocomoTask.judge, one, reply) | {"seconds": 0.1, "bytes": 8} | more)
    return found


def value(figures: list[Figure], kind: str, measure: str) -> float:
    (found,) = [one.value for one in figures if (one.kind, one.measure) == (kind, measure)]
    return found


def test_each_category_is_scored_by_its_published_rule(plan: Plan) -> None:
    said = {"qa0": "a tent, her boats", "qa1": "in May 2023", "qa2": "yes she sells", "qa3": "Max"}
    figures = LocomoTask().figures(lines_of(plan, said))
    expected = {
        "multi-hop": (1 + 2 / 3) / 2,
        "temporal": 4 / 5,
        "open-domain": 2 / 4,
        "single-hop": 0.0,
    }
    for kind, share in expected.items():
        assert value(figures, kind, "F1") == pytest.approx(share, abs=1e-6)
    mean = sum(expected.values()) / 4
    assert value(figures, "all with an answer", "F1") == pytest.approx(mean, abs=1e-6)
    assert value(figures, "adversarial", "abstained") == 1.0
    assert {one.measure for one in figures} == {"F1", "abstained"}


@pytest.mark.parametrize(("said", "right"), [("Not mentioned.", 1.0), ("For money", 0.0)])
def test_declining_is_right_where_nothing_answers(plan: Plan, said: str, right: float) -> None:
    figures = LocomoTask().figures(lines_of(plan, {"qa4": said}))
    assert value(figures, "adversarial", "abstained") == right


def test_scores_are_given_without_the_answers_known_to_be_wrong(inputs: Inputs) -> None:
    found = [
        {"question_id": "locomo_0_qa3", "error_type": "HALLUCINATION"},
        {"question_id": "locomo_1_qa1", "error_type": "HALLUCINATION"},
        {"question_id": "locomo_0_qa1", "error_type": "WRONG_CITATION"},
    ]
    (inputs.folder / KNOWN_ERRORS.path).write_bytes(gzip.compress(json.dumps(found).encode()))
    (plan,) = LocomoTask().plans(inputs)
    assert [bool(one.marks) for one in plan.once] == [False, False, False, True, False]
    figures = LocomoTask().figures(lines_of(plan, {"qa1": "May 2023", "qa3": "Max"}))
    assert value(figures, "all with an answer", "F1") == pytest.approx(1 / 4)
    assert value(figures, "all with an answer", "F1 without wrong keys") == pytest.approx(1 / 3)
    assert KNOWN_ERRORS.path in inputs.digests


def test_recall_of_turns_and_sessions_is_given_where_evidence_is_named(plan: Plan) -> None:
    lines = lines_of(plan, {}, sources_recalled=0.5, places_recalled=0.25)
    figures = LocomoTask().figures(lines)
    assert value(figures, "single-hop", "turns found") == 0.25
    assert value(figures, "all with an answer", "sessions found") == 0.5


def test_fewer_questions_are_drawn_by_category(inputs: Inputs) -> None:
    path = inputs.folder / CONVERSATIONS.path
    many = [{**one, "question": f"{one['question']} {turn}"} for turn in range(5) for one in ASKED]
    found = {"sample_id": "conv-1", "conversation": TALK, "qa": many}
    path.write_bytes(gzip.compress(json.dumps([found]).encode()))
    (plan,) = LocomoTask(items=2).plans(inputs)
    kinds = [one.kind for one in plan.once]
    assert all(kinds.count(kind) == 2 for kind in kinds)
    assert len(kinds) == 10
    assert LocomoTask(items=2).plans(inputs)[0] == plan


def test_without_the_file_it_says_where_it_is_expected(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="non-commercial"):
        LocomoTask().plans(Inputs(tmp_path, words, 4, lambda: ()))
    with pytest.raises(ConfigError, match="items cannot be 0"):
        LocomoTask(items=0)
