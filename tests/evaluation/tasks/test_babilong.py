"""BABILong's texts and labels, and a run of it on a tiny model."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.data.babi_archive import make_archive
from tests.evaluation.conftest import BOOKS, silent, words
from tests.systems.conftest import SHARED

from memplus.data.babi import BabiQuestion, read_babi
from memplus.errors import ConfigError, MissingDataError
from memplus.evaluation.engine.run import InMemory, judged, run_plans
from memplus.evaluation.tasks.babilong import TASK_LABELS, BabilongTask, labels_of
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.systems.protocol import Reply
from memplus.systems.registry import make_systems

ARCHIVE = "babi/babi_tasks_1-20_v1-2_en.zip"
TASK = BabilongTask(lengths=(0, 400, 1000), tasks=(1, 2), items=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_archive(folder / ARCHIVE)
    return folder


@pytest.fixture(scope="module")
def inputs(folder: Path) -> Inputs:
    return Inputs(folder, words, 1, lambda: [" ".join([book] * 9) for book in BOOKS])


def test_facts_stand_whole_and_in_order_among_whole_sentences(inputs: Inputs, folder: Path) -> None:
    questions = {task: read_babi(folder / ARCHIVE, task) for task in TASK.tasks}
    sentences = {one.strip() + "." for book in BOOKS for one in book.split(".") if one.strip()}
    for plan in TASK.plans(inputs):
        (step,), (question,) = plan.steps, plan.questions
        item = questions[int(question.kind.removeprefix("qa"))][int(plan.name.split()[-1])]
        pieces = [piece.strip() for piece in step.pieces]
        assert tuple(piece for piece in pieces if piece in item.facts) == item.facts
        assert all(piece in item.facts or piece in sentences for piece in pieces)
        assert question.text.endswith(f"\n{item.question}")
        assert question.answers == (item.answer,)
        assert step.flush


def test_a_text_is_as_long_as_its_length_says_less_the_prompts_room(inputs: Inputs) -> None:
    for plan in TASK.plans(inputs):
        (question,) = plan.questions
        assert question.wanted is not None
        assert plan.tokens == len("".join(plan.steps[0].pieces).split()) == question.distance
        if question.wanted:
            assert question.wanted - 300 - 4 < plan.tokens <= question.wanted - 300
        else:
            assert plan.tokens in (10, 11, 20, 21, 22, 23)
            assert len(plan.steps[0].pieces) in (2, 4)


def test_facts_are_spread_and_texts_are_always_the_same(inputs: Inputs) -> None:
    plans = [plan for plan in TASK.plans(inputs) if "1000" in plan.name]
    again = [plan for plan in TASK.plans(inputs) if "1000" in plan.name]
    assert plans == again
    assert plans != [p for p in replace(TASK, seed=1).plans(inputs) if "1000" in p.name]
    places = []
    for plan in plans:
        pieces = plan.steps[0].pieces
        places += [at / len(pieces) for at, one in enumerate(pieces) if not one.startswith(" One")]
    assert min(places) < 0.2
    assert max(places) > 0.8


def test_the_published_questions_come_first_and_others_only_behind_them(
    inputs: Inputs, folder: Path, tmp_path: Path
) -> None:
    make_archive(tmp_path / ARCHIVE)
    named = tmp_path / "babi" / "babilong_test_100_idxs.json"
    named.write_text(json.dumps({"qa1": [5, 2]}))
    given = replace(inputs, folder=tmp_path, digests={})
    task = BabilongTask(lengths=(0,), tasks=(1, 2), items=3)
    found = [int(plan.name.split()[-1]) for plan in task.plans(given)]
    assert found[:2] == [5, 2]
    assert found[2] not in (5, 2)
    assert len(set(found[3:])) == 3
    assert set(given.digests) == {ARCHIVE, "babi/babilong_test_100_idxs.json"}
    named.write_text(json.dumps({"qa1": [500]}))
    with pytest.raises(ConfigError, match="its indices name others"):
        task.plans(given)


def test_facts_stand_in_novels_where_these_are_there(inputs: Inputs, tmp_path: Path) -> None:
    make_archive(tmp_path / ARCHIVE)
    (tmp_path / "books_litbank").mkdir()
    with gzip.open(tmp_path / "books_litbank" / "litbank_100_books.jsonl.gz", "wt") as file:
        file.write(json.dumps({"title": "A", "text": "It rained. " * 40}) + "\n")
    given = replace(inputs, folder=tmp_path, digests={})
    task = BabilongTask(lengths=(350,), tasks=(1,), items=1)
    for novels, stands in ((True, True), (False, False)):
        (plan,) = replace(task, novels=novels).plans(given)
        assert any("It rained." in piece for piece in plan.steps[0].pieces) is stands
    assert "books_litbank/litbank_100_books.jsonl.gz" in given.digests


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("The kitchen.", True),
        ("Mary is in the KITCHEN. Then she went to the garden.", True),
        ("the kitchen or the garden", False),
        ("kitchens", False),
        ("garden", False),
        ("", False),
        ("kitchen <example> garden", True),
        ("kitchen\nQuestion: Where is John? Answer: garden", True),
        ("the bathroom before the kitchen", True),
    ],
)
def test_the_right_label_and_no_other_is_named(inputs: Inputs, said: str, *, right: bool) -> None:
    item = BabiQuestion(("a",), "Where was the milk before the bathroom?", "kitchen", (0,))
    (plan, *_) = TASK.plans(inputs)
    question = replace(next(plan.questions), answers=("kitchen",), options=labels_of(3, item))
    assert "bathroom" not in question.options
    line = judged(TASK.judge, question, Reply("cut", declined=False, generated=said))
    assert line["right"] is right


@pytest.mark.parametrize(
    ("task", "answer", "said", "right"),
    [
        (7, "none", "none", True),
        (7, "one", "none", False),
        (7, "three", "Three objects", True),
        (6, "no", "I do not know", False),
        (6, "no", "No, she is not.", True),
        (8, "apple,milk", "the milk and the apple", True),
        (8, "apple,milk", "apple", False),
        (8, "apple,milk", "apple, milk, football", False),
        (5, "Fred", "fred", True),
    ],
)
def test_labels_are_words_and_all_of_an_answer_is_wanted(
    inputs: Inputs, task: int, answer: str, said: str, *, right: bool
) -> None:
    item = BabiQuestion(("a",), "What is asked?", answer, (0,))
    (plan, *_) = TASK.plans(inputs)
    question = replace(
        next(plan.questions), answers=tuple(answer.split(",")), options=labels_of(task, item)
    )
    line = judged(TASK.judge, question, Reply(said, declined=False, generated=said))
    assert line["right"] is right


def test_declining_is_no_no(inputs: Inputs) -> None:
    (plan, *_) = TASK.plans(inputs)
    question = replace(next(plan.questions), answers=("no",), options=TASK_LABELS[6])
    said = "I have no note of that."
    line = judged(TASK.judge, question, Reply(said, declined=True, generated=said))
    assert (line["right"], line["credit"], line["declined"]) == (False, 0.0, True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tasks": (11,)}, "1 to 10"),
        ({"lengths": (200,)}, "300 tokens are left"),
        ({"lengths": ()}, "at least one"),
        ({"items": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        BabilongTask(**options)


def test_more_questions_than_there_are_and_missing_data_are_named(
    inputs: Inputs, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="task 1 has 6 questions"):
        replace(TASK, items=7).plans(inputs)
    with pytest.raises(MissingDataError, match=r"babi_tasks.*CC BY"):
        TASK.plans(replace(inputs, folder=tmp_path))


@pytest.mark.long
def test_a_tiny_model_answers_every_question_at_every_length(inputs: Inputs) -> None:
    given = replace(inputs, reference=SHARED.reference)
    task = BabilongTask(lengths=(0, 600), tasks=(1,), items=2)
    plans = task.plans(given)
    recorder = InMemory()
    run_plans(make_systems(["mplus", "nothing"], SHARED), plans, task.judge, recorder, silent)
    asked = [line for line in recorder.lines if line["key"] != "end"]
    assert [(line["kind"], line["wanted"]) for line in asked if line["system"] == "mplus"] == [
        ("qa1", 0), ("qa1", 0), ("qa1", 600), ("qa1", 600)
    ]  # fmt: skip
    assert len(asked) == 8
    found = {(one.kind, one.wanted): one for one in task.figures(asked)}
    assert found["qa1", 600].asked == 4
