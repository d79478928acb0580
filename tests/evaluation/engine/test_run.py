"""Runs on a tiny model: what is asked of which system, and that a killed run goes on the same."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.conftest import silent
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus import MPlus
from memplus.data.stream import Texts, Told
from memplus.errors import ConfigError, DamagedRunError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.evidence_recall import PLACES, SOURCES
from memplus.evaluation.engine.judging import Judge, Rule
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.engine.run import InMemory, Recorder, judged, run_plans
from memplus.evaluation.engine.runfile import RunFile
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan
from memplus.systems.mplus import MemorySession, MPlusSystem
from memplus.systems.protocol import Reply, Session
from memplus.systems.registry import make_systems, usual_systems
from memplus.systems.scm.session import SCMSession
from memplus.systems.shared import Shared

JUDGE = Judge(max_new_tokens=3)


@pytest.fixture(scope="module")
def plans(model: MPlus, texts: Texts) -> list[Plan]:
    chunk = model.memory_config.chunk_tokens
    return [retention_plan(texts, chunk, RetentionSizes(2, (0, 60)), seed) for seed in (0, 1)]


def run(bench: Bench, plans: list[Plan], recorder: Recorder) -> list[dict[str, Any]]:
    """The lines of a run, without what no two runs share."""
    run_plans(bench.systems, plans, JUDGE, recorder, silent)
    timeless = []
    for line in recorder.lines:
        timeless.append({k: v for k, v in line.items() if k not in ("seconds", "write_seconds")})
    return timeless


@pytest.fixture(scope="module")
def whole(bench: Bench, plans: list[Plan]) -> list[dict[str, Any]]:
    return run(bench, plans, InMemory())


def test_every_question_is_asked_of_every_system(
    plans: list[Plan], whole: list[dict[str, Any]]
) -> None:
    counts = Counter((line["plan"], line["system"]) for line in whole if line["key"] != "end")
    for plan in plans:
        asked = len(list(plan.questions))
        assert counts[plan.name, "mplus"] == counts[plan.name, "memoryllm"] == asked
        assert counts[plan.name, "nothing"] == 2
    keys = [(line["plan"], line["system"], line["key"]) for line in whole]
    assert [key for key in keys if key[2] == "end"] == [(p.name, "mplus", "end") for p in plans]
    assert len(set(keys)) == len(keys)


def test_answers_are_those_of_a_memory_asked_by_itself(
    model: MPlus, plans: list[Plan], whole: list[dict[str, Any]]
) -> None:
    plan = plans[0]
    memory = model.new_memory(plan.seed)
    said = {(one["plan"], one["system"], one["key"]): one.get("said") for one in whole}
    for step in plan.steps:
        model.write(memory, SHARED.encode(step.pieces), source=step.source)
        for question in step.questions:
            alone = model.ask(memory, question.text, max_new_tokens=3).text
            assert said[plan.name, "mplus", question.key] == alone
            short = model.ask(memory.short_term_only(), question.text, max_new_tokens=3).text
            assert said[plan.name, "memoryllm", question.key] == short
    for question in plan.once:
        blank = model.ask(model.new_memory(plan.seed), question.text, max_new_tokens=3).text
        assert said[plan.name, "nothing", question.key] == blank


def test_one_stream_of_writes_serves_a_system_and_its_follower(
    bench: Bench, model: MPlus, plans: list[Plan]
) -> None:
    sessions = run_plans(bench.systems, plans[:1], JUDGE, InMemory(), silent)
    assert set(sessions) == {"mplus"}
    assert isinstance(sessions["mplus"], MemorySession)
    memory = sessions["mplus"].memory
    alone = model.new_memory(plans[0].seed)
    pieces = [piece for step in plans[0].steps for piece in step.pieces]
    model.write(alone, SHARED.encode(pieces), source="text")
    assert alone.pool is not None
    assert memory.pool is not None
    assert all(
        bool((memory.pool.tensors()[name] == column).all())
        for name, column in alone.pool.tensors().items()
    )
    assert memory.long_term_rows == alone.long_term_rows > 0


def test_rows_of_the_note_are_counted_where_there_is_a_store(whole: list[dict[str, Any]]) -> None:
    for line in whole:
        has_rows = line["system"] == "mplus" and line.get("kind") == NOTE
        assert ("rows" in line) == has_rows
        assert ("by_chance" in line) == has_rows
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


@pytest.mark.long
@pytest.mark.parametrize("lines", [0, 5, 18, 25])
def test_a_killed_run_goes_on_with_the_same_answers(
    bench: Bench, plans: list[Plan], whole: list[dict[str, Any]], tmp_path: Path, lines: int
) -> None:
    path = tmp_path / "answers.jsonl"
    fragile = Fragile(path, {"run": 1})
    fragile.left = lines
    with pytest.raises(Killed):
        run(bench, plans, fragile)
    kept = path.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert kept.count(b"\n") == lines + 1
    assert run(bench, plans, RunFile(path, {"run": 1})) == whole
    assert path.read_bytes().startswith(kept)


def test_a_whole_run_asks_nothing_again(
    bench: Bench, plans: list[Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.jsonl"
    run(bench, plans, RunFile(path, {}))
    before = path.read_bytes()
    monkeypatch.setattr(MemorySession, "write", None)
    again = RunFile(path, {})
    assert run_plans(bench.systems, plans, JUDGE, again, silent) == {}
    assert path.read_bytes() == before


def test_lines_of_other_plans_are_refused(bench: Bench, plans: list[Plan], tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    run(bench, plans[:1], RunFile(path, {}))
    with pytest.raises(DamagedRunError, match="line 2"):
        run(bench, plans[1:], RunFile(path, {}))
    run_file = RunFile(path, {})
    run_file.append({"key": "more"})
    with pytest.raises(DamagedRunError):
        run(bench, plans[:1], RunFile(path, {}))


def test_progress_reaches_its_end(bench: Bench, plans: list[Plan]) -> None:
    last: dict[str, tuple[int, int]] = {}
    run_plans(
        bench.systems,
        plans,
        JUDGE,
        InMemory(),
        lambda what, done, of: last.update({what: (done, of)}),
    )
    assert set(last) == {"reading", "asking"}
    assert all(done == of for done, of in last.values())


def test_a_model_without_a_long_term_memory_is_asked_as_a_memoryllm(
    bench: Bench, plans: list[Plan]
) -> None:
    short = Shared(lambda: make_mplus(config=replace(SMALL, retrieved_tokens=0)))
    lines = run(Bench(usual_systems(short), bench.reference), plans[:1], InMemory())
    assert {line["system"] for line in lines} == {"memoryllm", "nothing"}


def test_a_follower_without_its_leader_reads_for_itself(
    bench: Bench, plans: list[Plan], whole: list[dict[str, Any]]
) -> None:
    alone = Bench(make_systems(["memoryllm"], SHARED), bench.reference)
    lines = [line for line in run(alone, plans, InMemory()) if line["key"] != "end"]
    assert lines == [one for one in whole if one["system"] == "memoryllm" and one["key"] != "end"]


def test_a_system_that_keeps_nothing_needs_no_writing(
    bench: Bench, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemorySession, "write", None)
    alone = Bench(make_systems(["nothing"], SHARED), bench.reference)
    recorder = InMemory()
    lines = run(alone, plans, recorder)
    assert len(lines) == sum(len(plan.once) for plan in plans)
    assert run(alone, plans, recorder) == lines


def asked(session: Session, judge: Judge, question: Question) -> dict[str, Any]:
    """What is recorded of one question."""
    return judged(judge, question, session.ask([question.text], max_new_tokens=3)[0])


def test_an_answer_that_was_right_before_a_correction_is_marked(bench: Bench) -> None:
    question = Question("k", "corrected", "Who?", ("Ann",), 0, 0, None, outdated="Bob")
    session = bench.systems[0].open(0)
    first = asked(session, JUDGE, question)
    assert not first["outdated"]
    assert asked(session, JUDGE, replace(question, outdated=first["said"]))["outdated"]


def test_where_nothing_was_told_it_is_right_to_decline() -> None:
    question = Question("k", "unknown", "Who?", ())
    for declined in (True, False):
        line = judged(JUDGE, question, Reply("whatever", declined))
        assert line["right"] == line["declined"] == declined


def test_what_was_withheld_is_judged_where_the_judge_says_so() -> None:
    question = Question("k", NOTE, "Where?", ("Rome",))
    withheld = Reply("no note", declined=True, generated="in Rome", confidence=0.2)
    for judges_withheld in (True, False):
        judge = Judge("contains", explained=True, judges_withheld=judges_withheld)
        line = judged(judge, question, withheld)
        assert (line["right"], line["declined"]) == (judges_withheld, True)
    # Of a system that does not say how sure it is the answer counts, not what follows it.
    judge = Judge("contains", explained=True, judges_withheld=True)
    unmeasured = Reply("in Ulm", declined=False, generated="in Ulm. Or in Rome")
    assert not judged(judge, question, unmeasured)["right"]


def test_all_that_was_generated_is_searched_where_the_judge_says_so() -> None:
    question = Question("k", "question", "Where?", ("Rome",))
    reply = Reply("", declined=False, generated="\nIn Rome, it is")
    assert judged(Judge("contains"), question, reply)["right"]
    assert not judged(Judge("exact"), question, reply)["right"]


def test_the_likeliest_option_is_chosen_where_the_judge_says_so(bench: Bench) -> None:
    options = (" Rome.", " Oslo.", " in the north")
    question = Question("k", "choice", "The town is", (" Rome.",), 0, 0, options=options)
    plan = Plan("p", 0, (Step(("It is in Rome.",), 14, "text", (question,)),), ())
    recorder = InMemory()
    run_plans(bench.systems[:1], [plan], Judge("choice"), recorder, silent)
    session = bench.systems[0].open(0)
    session.write("It is in Rome.", "text")
    assert isinstance(session, MemorySession)
    found = [total for total, _ in session.score(["The town is"], [options])[0]]
    assert recorder.lines[0]["said"] == options[found.index(max(found))]
    assert recorder.lines[0]["right"] == (recorder.lines[0]["said"] == " Rome.")


class Mute(MPlusSystem):
    sessions = Session


def test_a_system_without_likelihoods_cannot_be_judged_by_them() -> None:
    with pytest.raises(ConfigError, match="'mplus': it gives no likelihoods"):
        run_plans([Mute(SHARED)], [], Judge("likelihood"), InMemory(), silent)


@pytest.mark.parametrize(
    ("generated", "said"),
    [
        ("Segment B, not A.", "B"),
        ("A", "A"),
        ("Both.", "cut"),
        ("ABBA", "cut"),
        ("b", "cut"),
        ("A careful look shows that Segment B came first.", "B"),
        ("A is first, and segment B is second.", "B"),
    ],
)
def test_what_it_names_first_is_what_a_system_without_likelihoods_chooses(
    monkeypatch: pytest.MonkeyPatch, generated: str, said: str
) -> None:
    class Talker(MemorySession):
        score = None  # type: ignore[assignment]

    def ask(self: Talker, questions: list[str], **_: Any) -> list[Reply]:
        return [Reply("cut", declined=False, generated=generated) for _ in questions]

    monkeypatch.setattr(Talker, "ask", ask)
    system = MPlusSystem(SHARED)
    monkeypatch.setattr(system, "open", lambda seed: Talker(SHARED, SHARED.mplus.new_memory(seed)))
    question = Question("k", "choice", "Which?", ("B",), options=("A", "B", " A", " B"))
    plan = Plan("p", 0, (Step(("It is.",), 6, "text", (question,)),), ())
    recorder = InMemory()
    run_plans([system], [plan], Judge("choice"), recorder, silent)
    line = recorder.lines[0]
    assert (line["said"], line["right"]) == (said, said == "B")
    assert "scores" not in line


def test_a_note_is_looked_for_only_where_its_place_is_known_in_the_systems_tokens(
    bench: Bench, plans: list[Plan]
) -> None:
    step = plans[0].steps[0]
    counted = replace(step, tokens=step.tokens + 1)
    recorder = InMemory()
    run_plans(bench.systems, [Plan("p", 0, (counted,), ())], JUDGE, recorder, silent)
    assert not any("rows" in line for line in recorder.lines)


def test_a_question_may_be_judged_by_a_rule_of_its_own_and_carry_marks() -> None:
    parts = Question(
        "k", "parts", "What?", ("red", "blue"), rule="stemmed_parts", marks=("doubtful",)
    )
    line = judged(Judge("exact"), parts, Reply("blue", declined=False))
    assert (line["credit"], line["right"], line["marks"]) == (0.5, False, ["doubtful"])
    assert "marks" not in judged(Judge("exact"), replace(parts, marks=()), Reply("x", False))


def test_recall_of_the_evidence_is_recorded_where_it_is_named(bench: Bench) -> None:
    told = Told("text", 0, 14)
    question = Question("k", "note", "Where?", ("Rome",), 0, 0, evidence=(told,))
    step = Step(("It is in Rome.",), 14, "text", (question,), flush=True)
    recorder = InMemory()
    judge = Judge("contains", explained=True, max_new_tokens=3)
    run_plans(bench.systems[:1], [Plan("p", 0, (step,), ())], judge, recorder, silent)
    assert recorder.lines[0][SOURCES] == recorder.lines[0][PLACES] == 1.0
    elsewhere, again = replace(step, source="elsewhere"), InMemory()
    run_plans(bench.systems[:1], [Plan("p", 0, (elsewhere,), ())], judge, again, silent)
    assert again.lines[0][SOURCES] == again.lines[0][PLACES] == 0.0


def test_a_system_that_keeps_turns_is_told_them_and_others_the_same_text() -> None:
    pieces = ("A talk.\n", "Ada: It is in Rome.\n", "Ben: I see.\n", "Ada: It stays.\n")
    told = Told("talk", 8, 28)
    question = Question("k", "note", "Where is it?", ("Rome",), 0, 0, evidence=(told,))
    tokens = len("".join(pieces))
    step = Step(pieces, tokens, "talk", (question,), turns=((2, 1), (1, 0)))
    systems = make_systems(["scm:gate=off:controller=yes", "bm25"], SHARED)
    judge = Judge("contains", explained=True, max_new_tokens=3)
    for one, lines in ((step, [3, 1]), (replace(step, turns=()), [])):
        recorder = InMemory()
        sessions = run_plans(systems, [Plan("p", 0, (one,), ())], judge, recorder, silent)
        scm, other = sessions.values()
        assert isinstance(scm, SCMSession)
        assert scm.tokens == other.tokens == tokens
        assert [turn.text.count("\n") for turn in scm.stream.turns] == lines
        assert recorder.lines[0][PLACES] == 1.0


@pytest.mark.parametrize("rule", ["contains", "choice"])
def test_what_a_system_remarks_of_an_answer_stands_in_its_line(rule: Rule) -> None:
    question = Question("k", "note", "Where?", ("Rome",), options=("Rome", "Oslo"))
    step = Step(("It is in Rome. " * 40,), 600, "text", (question,))
    recorder = InMemory()
    judge = Judge(rule, max_new_tokens=3)
    systems = make_systems(["full_context", "nothing"], SHARED)
    run_plans(systems, [Plan("p", 0, (step,), (question,))], judge, recorder, silent)
    remarks = {line["system"]: line.get("remark") for line in recorder.lines if "said" in line}
    # A question whose options are weighed stands as it is, without the template's tokens.
    cut = 376 if rule == "contains" else 356
    assert remarks == {"full_context": f"cut {cut} of 600 tokens", "nothing": None}
