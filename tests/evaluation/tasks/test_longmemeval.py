"""Plans of histories, made ones and one of a file, and what their lines come to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.data.test_longmemeval import record

from memplus.data.longmemeval import TYPES
from memplus.data.statements import HELD_OUT_TOPICS, read_statements, statement_topics
from memplus.errors import ConfigError, MissingDataError
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.engine.run import judged
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.demonstration import language_documentation
from memplus.evaluation.tasks.longmemeval import LongMemEvalTask
from memplus.systems.protocol import Reply


def words(texts: list[str]) -> list[list[int]]:
    return [[found.end() for found in re.finditer(r"\s*\S+\s*", text)] for text in texts]


def inputs(folder: Path) -> Inputs:
    return Inputs(folder, words, 4, lambda: [language_documentation()])


@pytest.fixture(scope="module")
def plan() -> Plan:
    (found,) = LongMemEvalTask(lengths=(5_000,), items=5).plans(inputs(Path()))
    return found


def read_at(plan: Plan, source: str, start: int, end: int) -> str:
    (step,) = [one for one in plan.steps if one.source == source]
    return " ".join("".join(step.pieces).split()[start:end])


def test_every_session_is_a_step_with_its_date_and_speakers(plan: Plan) -> None:
    for step in plan.steps:
        text = "".join(step.pieces)
        assert re.match(r"A chat of 2023/\d\d/\d\d \(\w{3}\) \d\d:\d\d\.\nUser: ", text)
        assert step.tokens == len(text.split())
        assert "\nAssistant: " in text
    assert len({step.source for step in plan.steps}) == len(plan.steps)
    assert 4_500 < plan.tokens <= 5_300


def test_turns_begin_with_the_user(plan: Plan) -> None:
    for step in plan.steps:
        left = list(step.pieces)
        for said, answered in step.turns:
            asked, left = left[:said], left[said:]
            assert asked[-1].startswith("User: ")
            assert all(one.startswith("Assistant: ") for one in left[:answered])
            left = left[answered:]
        assert not left
    assert sum(len(step.turns) for step in plan.steps) > 50


def test_all_types_and_abstention_are_asked_after_the_last_session(plan: Plan) -> None:
    assert not any(step.questions for step in plan.steps[:-1])
    kinds = [one.kind for one in plan.questions]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys([*TYPES, "abstention"], 5)
    assert all(one.answers == () for one in plan.questions if one.kind == "abstention")
    assert all(one.wanted == 5_000 for one in plan.questions)


def test_evidence_is_where_the_answer_stands(plan: Plan) -> None:
    for one in plan.questions:
        if one.kind in TYPES[:3]:
            (place,) = one.evidence
            told = read_at(plan, place.source, place.start, place.end)
            assert one.answers[0].lower() in told.lower()


def test_only_questions_about_time_say_what_day_it_is(plan: Plan) -> None:
    for one in plan.questions:
        assert one.text.startswith("Today is 2023/") == (one.kind == "temporal-reasoning")


def test_what_is_asked_is_held_out_and_what_stands_between_is_not(plan: Plan) -> None:
    text = "".join(piece for step in plan.steps for piece in step.pieces)
    trained = [topic for topic in statement_topics() if topic not in HELD_OUT_TOPICS]
    assert sum(one.text in text for one in read_statements(trained)) > 20
    held_out = [one for one in read_statements(HELD_OUT_TOPICS) if one.text in text]
    assert len(held_out) == 5


def test_a_file_is_read_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "longmemeval").mkdir()
    records = [record(question_id=name) for name in ("q1", "q2", "q3_abs")]
    whole = {"haystack_sessions": [[{"role": "user", "content": "I sold two."}]] * 3}
    records.append(record(question_id="q4", **whole))
    (tmp_path / "longmemeval" / "s.json").write_text(json.dumps(records))
    first, second = LongMemEvalTask(file="s.json").plans(inputs(tmp_path))
    assert [one.kind for one in first.questions] == ["multi-session"] * 2 + ["abstention"]
    assert [one.source for one in next(first.questions).evidence] == ["early", "late"]
    assert [step.source for step in first.steps] == ["early", "early (2)", "late"]
    # Where no turn is marked, all of the sessions named are evidence.
    assert {one.source for one in next(second.questions).evidence} == {"early", "late"}
    fewer = LongMemEvalTask(file="s.json", items=1).plans(inputs(tmp_path))
    assert sorted(one.kind for plan in fewer for one in plan.questions) == [
        "abstention", "multi-session"
    ]  # fmt: skip


def test_a_file_that_is_not_there_is_named_with_its_licence(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"s\.json.*licence: MIT"):
        LongMemEvalTask(file="s.json").plans(inputs(tmp_path))
    with pytest.raises(ConfigError, match="items cannot be 0"):
        LongMemEvalTask(items=0)


def line(question: Question, said: str, *, declined: bool = False, **more: Any) -> dict[str, Any]:
    found = judged(LongMemEvalTask.judge, question, Reply(said, declined))
    return found | {"seconds": 0.1, "bytes": 8} | more


def test_figures_say_contained_f1_outdated_declined_and_sessions_found() -> None:
    update = Question("a", "knowledge-update", "Where?", ("Ulm",), outdated="Rome")
    count = Question("b", "multi-session", "How many?", ("two", "2"))
    untold = Question("c_abs", "abstention", "Who?", ())
    figures = LongMemEvalTask().figures(
        [
            line(update, "it is Rome", sources_recalled=0.5),
            line(count, "two boats", sources_recalled=1.0, places_recalled=0.0),
            line(untold, "I don't know", declined=True),
            line(untold, "Ben"),
        ]
    )
    found = {(one.kind, one.measure): one.value for one in figures}
    assert found["knowledge-update", "contained"] == 0.0
    assert found["knowledge-update", "outdated"] == 1.0
    assert found["all with an answer", "contained"] == 0.5
    assert found["multi-session", "F1"] == pytest.approx(2 / 3)
    assert found["abstention", "declined"] == 0.5
    assert found["all with an answer", "sessions found"] == 0.75
    assert found["multi-session", "turns found"] == 0.0
    assert ("abstention", "contained") not in found
