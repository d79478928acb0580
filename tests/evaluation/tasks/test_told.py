from collections import defaultdict

import pytest
from tests.evaluation.conftest import BOOKS, silent, text_of, words, words_of

from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.tasks.told import NEVER_TOLD, Item, Telling, alone_plans, told_plan

DISTANCES = (0, 40, 200)


def item(kind: str, number: int, **more: str) -> Item:
    value = f"value{kind}{number}"
    asked = (f"What is {kind} {number}?", (value,)), (f"And {kind} {number}?", (value, "x"))
    return Item(kind, f"The {kind} {number} is {value}.", asked, DISTANCES, **more)


PASSAGES = tuple(item("passage", number) for number in range(8))
CHANGED = Item(
    "correction", "Ann now lives in Ulm.", (("Where?", ("Ulm",)),), (30,),
    earlier="Ann lives in Bonn.", outdated="Bonn",
)  # fmt: skip
TELLING = Telling(
    (*PASSAGES, CHANGED),
    untold=tuple(item("secret", number) for number in range(5)),
    others=tuple(f"Another passage {number}." for number in range(4)),
)


@pytest.fixture
def known() -> Texts:
    return Texts.of(BOOKS, words)


def test_every_item_is_asked_at_every_distance_and_stands_where_its_questions_say(
    known: Texts,
) -> None:
    plan = told_plan(known, 16, TELLING, seed=3)
    asked = defaultdict(list)
    written = 0
    for step in plan.steps:
        written += step.tokens
        for question in step.questions:
            asked[question.text].append(question.wanted)
            if question.told is not None:
                assert question.wanted is not None
                assert question.distance == written - question.told.end
                assert 0 <= question.distance - question.wanted < 16
                said = words_of(text_of(plan), question.told.start, question.told.end)
                assert question.answers[0] in said
    for passage in PASSAGES:
        for text, _ in passage.questions:
            assert asked[text] == list(DISTANCES)
    keys = [question.key for question in plan.questions]
    assert len(set(keys)) == len(keys)
    assert {one.text for one in plan.once} == set(asked)


def test_a_correction_follows_its_earlier_version_and_counts_from_the_later(known: Texts) -> None:
    for seed in range(6):
        plan = told_plan(known, 16, TELLING, seed)
        text = " ".join(text_of(plan))
        assert text.index("Bonn") < text.index("Ulm")
        (question,) = [one for one in plan.questions if one.kind == "correction"]
        assert (question.wanted, question.outdated) == (30, "Bonn")


def test_what_is_never_told_is_asked_and_has_no_right_answer(known: Texts) -> None:
    plan = told_plan(known, 16, TELLING, seed=3)
    never = [one for one in plan.questions if one.kind == NEVER_TOLD]
    assert len(never) == 10
    assert {one.wanted for one in never} == {0, 30, 40, 200}
    assert all(one.answers == () and one.told is None for one in never)
    assert "secret" not in " ".join(text_of(plan))


def test_other_passages_are_told_after_the_items_each_once(known: Texts) -> None:
    text = "".join(text_of(told_plan(known, 16, TELLING, seed=3)))
    places = [text.index(f"Another passage {number}.") for number in range(3)]
    assert places == sorted(places)
    assert places[0] > max(text.index(one.text) for one in PASSAGES)
    assert text.count("Another passage 0.") == 1


def test_a_plan_follows_from_its_seed(known: Texts) -> None:
    assert told_plan(known, 16, TELLING, 1) == told_plan(known, 16, TELLING, 1)
    assert told_plan(known, 16, TELLING, 1) != told_plan(known, 16, TELLING, 2)


def test_alone_every_item_has_a_session_to_itself() -> None:
    plans = alone_plans((*PASSAGES, CHANGED), words, seed=1)
    assert [text_of(plan) for plan in plans] == [[one.text] for one in (*PASSAGES, CHANGED)]
    assert all(plan.steps[0].flush for plan in plans)
    assert [len(list(plan.questions)) for plan in plans] == [2] * 8 + [1]
    for question in plans[0].questions:
        assert (question.wanted, question.distance) == (0, 0)
        assert question.told is not None
        assert (question.told.start, question.told.end) == (0, 5)


@pytest.mark.long
def test_systems_answer_both_kinds_of_plan(bench: Bench, texts: Texts) -> None:
    recorder = InMemory()
    plans = [told_plan(texts, bench.chunk, TELLING, 0), *alone_plans(PASSAGES, words, 0)]
    run_plans(bench.systems, plans, Judge("contains", max_new_tokens=3), recorder, silent)
    told = [line for line in recorder.lines if line["plan"] == "seed 0" and line["key"] != "end"]
    by_system = defaultdict(int)
    for line in told:
        by_system[line["system"]] += 1
    assert by_system == {"mplus": 59, "memoryllm": 59, "nothing": 27}


def test_a_telling_without_items_or_distances_is_refused() -> None:
    with pytest.raises(ConfigError, match="items"):
        Telling(())
    with pytest.raises(ConfigError, match="distances"):
        Telling((Item("passage", "It.", (("Q?", ("a",)),), ()),))
