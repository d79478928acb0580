"""Runs on a tiny model: what is asked of which memory, and that a killed run goes on the same."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memplus import MPlus
from memplus.data.stream import Texts
from memplus.errors import DamagedRunError
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.engine.run import (
    LONG_TERM,
    SHORT_TERM,
    WITHOUT,
    InMemory,
    Judging,
    Recorder,
    run_plans,
)
from memplus.evaluation.engine.runfile import RunFile
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan

JUDGING = Judging(max_new_tokens=3)


@pytest.fixture(scope="module")
def plans(model: MPlus, texts: Texts) -> list[Plan]:
    chunk = model.memory_config.chunk_tokens
    return [retention_plan(texts, chunk, RetentionSizes(2, (0, 60)), seed) for seed in (0, 1)]


def run(model: MPlus, plans: list[Plan], recorder: Recorder) -> list[dict[str, Any]]:
    """The lines of a run, without what no two runs share."""
    run_plans(model, plans, JUDGING, recorder, lambda what, done, of: None)
    timeless = []
    for line in recorder.lines:
        timeless.append({k: v for k, v in line.items() if k not in ("seconds", "write_seconds")})
    return timeless


@pytest.fixture(scope="module")
def whole(model: MPlus, plans: list[Plan]) -> list[dict[str, Any]]:
    return run(model, plans, InMemory())


def test_every_question_is_asked_of_every_method(
    plans: list[Plan], whole: list[dict[str, Any]]
) -> None:
    counts = Counter((line["plan"], line.get("method")) for line in whole)
    for plan in plans:
        asked = len(list(plan.questions))
        assert counts[plan.name, LONG_TERM] == counts[plan.name, SHORT_TERM] == asked
        assert counts[plan.name, WITHOUT] == 2
        assert counts[plan.name, None] == 1
    keys = [(line["plan"], line.get("method"), line["key"]) for line in whole]
    assert len(set(keys)) == len(keys)


def test_answers_are_those_of_a_memory_asked_by_itself(
    model: MPlus, plans: list[Plan], whole: list[dict[str, Any]]
) -> None:
    plan = plans[0]
    memory = model.new_memory(plan.seed)
    said = {(one["plan"], one.get("method"), one["key"]): one.get("said") for one in whole}
    for step in plan.steps:
        model.write(memory, step.ids, source=step.source)
        for question in step.questions:
            alone = model.ask(memory, question.text, max_new_tokens=3).text
            assert said[plan.name, LONG_TERM, question.key] == alone
            short = model.ask(memory.short_term_only(), question.text, max_new_tokens=3).text
            assert said[plan.name, SHORT_TERM, question.key] == short
    for question in plan.once:
        blank = model.ask(model.new_memory(plan.seed), question.text, max_new_tokens=3).text
        assert said[plan.name, WITHOUT, question.key] == blank


def test_one_stream_of_writes_serves_both_methods(model: MPlus, plans: list[Plan]) -> None:
    memory = run_plans(model, plans[:1], JUDGING, InMemory(), lambda what, done, of: None)
    assert memory is not None
    alone = model.new_memory(plans[0].seed)
    model.write(alone, [i for step in plans[0].steps for i in step.ids], source="text")
    assert alone.pool is not None
    assert memory.pool is not None
    assert all(
        bool((memory.pool.tensors()[name] == column).all())
        for name, column in alone.pool.tensors().items()
    )
    assert memory.long_term_rows == alone.long_term_rows > 0


def test_rows_of_the_note_are_counted_where_there_is_a_store(whole: list[dict[str, Any]]) -> None:
    for line in whole:
        has_rows = line.get("method") == LONG_TERM and line["kind"] == NOTE
        assert ("rows" in line) == has_rows
        if has_rows:
            for found in line["rows"].values():
                assert all(c <= s for c, s in zip(found["retrieved"], found["stored"], strict=True))
    far = [line for line in whole if line.get("rows") and line["wanted"] == 60]
    assert all(sum(line["rows"]["statement"]["stored"]) > 0 for line in far)


class Killed(Exception):
    pass


class Fragile(RunFile):
    """Ends the run after some lines, in the middle of the next one."""

    left = 0

    def append(self, line: Any) -> None:
        if self.left == 0:
            with self.path.open("a") as file:
                file.write(json.dumps(line)[:20])
            raise Killed
        self.left -= 1
        super().append(line)


@pytest.mark.parametrize("lines", [0, 5, 18, 25])
def test_a_killed_run_goes_on_with_the_same_answers(
    model: MPlus, plans: list[Plan], whole: list[dict[str, Any]], tmp_path: Path, lines: int
) -> None:
    path = tmp_path / "answers.jsonl"
    fragile = Fragile(path, {"run": 1})
    fragile.left = lines
    with pytest.raises(Killed):
        run(model, plans, fragile)
    kept = path.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert kept.count(b"\n") == lines + 1
    assert run(model, plans, RunFile(path, {"run": 1})) == whole
    assert path.read_bytes().startswith(kept)


def test_a_whole_run_asks_nothing_again(
    model: MPlus, plans: list[Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.jsonl"
    run(model, plans, RunFile(path, {}))
    before = path.read_bytes()
    monkeypatch.setattr(model, "write", None)
    seen = []
    again = RunFile(path, {})
    run_plans(model, plans, JUDGING, again, lambda *what: seen.append(what))
    assert path.read_bytes() == before


def test_lines_of_other_plans_are_refused(model: MPlus, plans: list[Plan], tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    run(model, plans[:1], RunFile(path, {}))
    with pytest.raises(DamagedRunError, match="line 2"):
        run(model, plans[1:], RunFile(path, {}))
    run_file = RunFile(path, {})
    run_file.append({"key": "more"})
    with pytest.raises(DamagedRunError):
        run(model, plans[:1], RunFile(path, {}))


def test_progress_reaches_its_end(model: MPlus, plans: list[Plan]) -> None:
    last: dict[str, tuple[int, int]] = {}
    run_plans(
        model, plans, JUDGING, InMemory(), lambda what, done, of: last.update({what: (done, of)})
    )
    assert set(last) == {"reading", "asking"}
    assert all(done == of for done, of in last.values())


def test_a_model_without_a_store_is_asked_as_a_memoryllm(plans: list[Plan]) -> None:
    from tests.fakes import make_mplus
    from tests.systems.conftest import SMALL

    short = make_mplus(config=replace(SMALL, retrieved_tokens=0))
    lines = run(short, plans[:1], InMemory())
    assert {line.get("method") for line in lines} == {SHORT_TERM, WITHOUT, None}


def test_an_answer_that_was_right_before_a_correction_is_marked(model: MPlus) -> None:
    question = Question("k", "corrected", "Who?", ("Ann",), 0, 0, None, outdated="Bob")
    plan = Plan("p", 0, (Step([1, 2, 3], "text", (question,)),), ())
    lines = run(model, [plan], InMemory())
    said = lines[0]["said"]
    older = replace(question, outdated=said)
    again = Plan("p", 0, (Step([1, 2, 3], "text", (older,)),), ())
    assert not lines[0]["outdated"]
    assert run(model, [again], InMemory())[0]["outdated"]
