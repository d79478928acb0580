from tests.evaluation.conftest import silent, words

from memplus import MPlus
from memplus.data.outside import BUNDLED_STATEMENTS, Statement, read_statements
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.engine.summary import cells_of
from memplus.evaluation.tasks.ordinary_statements import STATEMENT, statement_judge, statement_plans
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

TOLD = [
    Statement("The gate is red.", "What is red?", ("gate",)),
    Statement("It rained on Monday.", "When did it rain?", ("Monday",)),
]


def test_each_statement_is_told_to_a_session_of_its_own_and_asked_at_once() -> None:
    plans = statement_plans(TOLD, words, seed=5)
    assert [plan.seed for plan in plans] == [5, 5]
    for plan, one in zip(plans, TOLD, strict=True):
        (step,) = plan.steps
        assert step.pieces == (one.statement,)
        assert not step.flush
        (asked,) = step.questions
        assert (asked.text, asked.answers, asked.distance) == (one.question, one.answers, 0)
        assert [blank.text for blank in plan.once] == [one.question]
    assert len({plan.name for plan in plans}) == 2


def test_what_is_unsure_is_declined_and_never_right(bench: Bench) -> None:
    plans = statement_plans(TOLD, bench.reference, seed=0)
    recorder = InMemory()
    run_plans(bench.systems, plans, statement_judge(1.0), recorder, silent)
    lines = [line for line in recorder.lines if line["key"] != "end"]
    kept = [line for line in lines if line["system"] != "nothing"]
    assert all(line["declined"] and not line["right"] for line in kept)
    assert all(0 < line["confidence"] < 1 for line in kept)
    assert {line["kind"] for line in lines} == {STATEMENT}


def test_the_bundled_model_declines_what_it_cannot_understand() -> None:
    shared = Shared(lambda: MPlus.from_pretrained("nano").eval())
    told = read_statements(BUNDLED_STATEMENTS)
    plans = statement_plans(told, shared.reference, seed=0)
    recorder = InMemory()
    least = shared.mplus.prompt.min_confidence
    run_plans(make_systems(["mplus"], shared), plans, statement_judge(least), recorder, silent)
    (cell,) = cells_of(recorder.lines)
    assert cell.asked == 40
    wrong = cell.asked - cell.right - round(cell.declined * cell.asked)
    assert wrong <= 4
