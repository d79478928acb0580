"""Book-SORT on readers of whom it is known what they see, and on a tiny model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.data.booksort_folder import TITLES, make_folder, put_heading
from tests.evaluation.conftest import silent, words
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError, MissingDataError, PositionsError
from memplus.evaluation.engine.figures import Figure
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.engine.summary import wilson
from memplus.evaluation.tasks.bench_task import Inputs
from memplus.evaluation.tasks.sort import SortTask, decided
from memplus.evaluation.tasks.sort_wordings import OPTIONS, WORDINGS
from memplus.systems.protocol import ChatPrompt, Reply, Scores, Session, Text, pieces_of
from memplus.systems.registry import make_systems

SMALL = SortTask(lengths=(250,), segments=(20,), items=2)
Scorer = Callable[[str, str, str], tuple[float, float]]
"""(what was read, text of A, text of B) -> scores of A and of B."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_folder(folder / "booksort", (250, 1000), (20, 50))
    return folder


@pytest.fixture(scope="module")
def inputs(folder: Path) -> Inputs:
    return Inputs(folder, words, 1, lambda: ())


class Reader:
    """Keeps what it reads, and scores by a rule."""

    nbytes = tokens = 0

    def __init__(self, rule: Scorer) -> None:
        self.rule = rule
        self.read: list[str] = []

    def write(self, text: Text, source: str = "") -> None:
        self.read.append("".join(pieces_of(text)))

    def flush(self) -> None:
        """Nothing waits."""

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        raise NotImplementedError

    def fork(self) -> Reader:
        raise NotImplementedError

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        found = []
        for prompt, group in zip(prompts, options, strict=True):
            assert isinstance(prompt, ChatPrompt)
            assert prompt.answer_start == "Answer: Segment"
            shown = re.search(r"Segment A: (.*?) Segment B: (.*)\n", prompt.user)
            assert shown is not None
            a, b = self.rule(" ".join(self.read), shown[1], shown[2])
            scores = {"A": a - 9, "B": b - 9, " A": a, " B": b}
            found.append([(scores[option], 1) for option in group])
        return found


class Readers:
    """The system of such sessions."""

    name = title = model = "reader"
    identity: ClassVar[dict[str, Any]] = {}
    sessions: type[Session] = Reader
    remembers = True
    questions_together = 32
    chunk_tokens = 1

    def __init__(self, rule: Scorer) -> None:
        self.rule = rule
        self.opened: list[Reader] = []

    def open(self, seed: int) -> Reader:
        self.opened.append(Reader(self.rule))
        return self.opened[-1]

    def declines(self, text: str) -> bool:
        return False


def places(read: str, a: str, b: str) -> tuple[float, float]:
    """Sees which comes first."""
    return (1.0, 0.0) if read.index(a) < read.index(b) else (0.0, 1.0)


def always_a(read: str, a: str, b: str) -> tuple[float, float]:
    return 1.0, 0.0


def fond_of_a(read: str, a: str, b: str) -> tuple[float, float]:
    """Sees which comes first, and says A all the same."""
    seen, other = places(read, a, b)
    return 5 + seen, other


def lines_of(task: SortTask, inputs: Inputs, rule: Scorer) -> list[dict[str, Any]]:
    recorder = InMemory()
    run_plans([Readers(rule)], task.plans(inputs), task.judge, recorder, silent)
    return [line for line in recorder.lines if line["key"] != "end"]


def values(task: SortTask, lines: list[dict[str, Any]]) -> dict[str, float]:
    """Figures over all distances."""
    found = task.figures(lines)
    return {one.measure: one.value for one in found if one.kind.startswith("segments")}


def test_who_sees_the_places_is_always_right_and_asked_for_the_second_says_the_other(
    inputs: Inputs,
) -> None:
    found = values(SMALL, lines_of(SMALL, inputs, places))
    assert found["right in both orders"] == found["right without bias"] == 1
    assert 0 < found["says A"] < 1
    second = replace(SMALL, ends=("second",))
    assert values(second, lines_of(second, inputs, places))["right in both orders"] == 0
    assert values(second, lines_of(second, inputs, places))["right without bias"] == 0


def test_a_constant_answer_gets_its_letters_share_and_half_over_both_orders(
    inputs: Inputs,
) -> None:
    lines = lines_of(SMALL, inputs, always_a)
    found = values(SMALL, lines)
    assert found["right in both orders"] == 0.5
    assert found["says A"] == 1
    a_is_right = [line["answers"] == ["A"] for line in lines if line["key"].endswith("given")]
    assert found["right as published"] == sum(a_is_right) / len(a_is_right)
    assert found["right without bias"] == 0, "equal scores tell nothing apart"


def test_a_liking_for_a_letter_hides_what_is_known_and_falls_out_between_the_orders(
    inputs: Inputs,
) -> None:
    found = values(SMALL, lines_of(SMALL, inputs, fond_of_a))
    assert found["right in both orders"] == 0.5
    assert found["right without bias"] == 1


def test_the_share_of_a_is_that_of_a_whichever_letter_is_said_more(inputs: Inputs) -> None:
    def always_b(read: str, a: str, b: str) -> tuple[float, float]:
        return 0.0, 1.0

    assert values(SMALL, lines_of(SMALL, inputs, always_b))["says A"] == 0


def test_an_order_that_was_shuffled_cannot_be_seen(inputs: Inputs) -> None:
    task = replace(SMALL, shuffled=True)

    def by_words(read: str, a: str, b: str) -> tuple[float, float]:
        first, second = (read.index(text.split(". ")[1][:20]) for text in (a, b))
        return (1.0, 0.0) if first < second else (0.0, 1.0)

    assert values(SMALL, lines_of(SMALL, inputs, by_words))["right in both orders"] == 1
    found = values(task, lines_of(task, inputs, by_words))
    assert found["right in both orders"] < 1
    (plan, *_), (shuffled, *_) = SMALL.plans(inputs), task.plans(inputs)
    pieces, mixed = (one.steps[0].pieces for one in (plan, shuffled))
    assert pieces != mixed
    assert sorted(one.strip() for one in pieces) == sorted(one.strip() for one in mixed)
    assert shuffled == task.plans(inputs)[0], "always the same"


def test_an_excerpt_is_written_once_for_all_that_is_asked_about_it(inputs: Inputs) -> None:
    task, system, recorder = SMALL, Readers(places), InMemory()
    plans = task.plans(inputs)
    run_plans([system], plans, task.judge, recorder, silent)
    assert len(system.opened) == len(plans) == 4
    for plan, session in zip(plans, system.opened, strict=True):
        assert session.read == ["".join(plan.steps[0].pieces)]
        assert len(list(plan.questions)) == 4 * 2
        assert plan.tokens == 250


def test_a_prompt_holds_nothing_of_the_excerpt_but_the_two_segments(inputs: Inputs) -> None:
    for plan in SMALL.plans(inputs):
        text = "".join(plan.steps[0].pieces)
        for question in plan.questions:
            shown = re.search(r"Segment A: (.*?) Segment B: (.*)\n", question.text)
            assert shown is not None
            assert all(text.count(segment) == 1 for segment in shown.groups())
            rest = question.text.replace(shown[1], "").replace(shown[2], "").split()
            for at in range(len(rest) - 2):
                assert " ".join(rest[at : at + 3]) not in text


def test_shown_the_excerpt_stands_in_every_prompt_and_nothing_is_written(inputs: Inputs) -> None:
    task = replace(SMALL, shown=True)
    for plan, written in zip(task.plans(inputs), SMALL.plans(inputs), strict=True):
        text = "".join(written.steps[0].pieces)
        assert plan.tokens == 0
        assert plan.steps[0].pieces == ()
        for question in plan.questions:
            assert question.text.startswith("Read this part of ")
            assert f"\n\n{text}\n\n" in question.text
            assert "*" not in question.text
    lines = lines_of(task, inputs, lambda read, a, b: (float(not read), 0.0))
    assert {line["said"] for line in lines} == {" A"}


def test_the_other_order_swaps_the_texts_and_the_truth(inputs: Inputs) -> None:
    for plan in replace(SMALL, ends=("first", "second")).plans(inputs):
        by_key = {one.key: one for one in plan.questions}
        assert len(by_key) == 16
        for key, one in by_key.items():
            if key.endswith("/given"):
                other = by_key[key.replace("given", "swapped")]
                texts = re.search(r"Segment A: (.*?) Segment B: (.*)\n", one.text)
                assert texts is not None
                assert f"Segment A: {texts[2]} Segment B: {texts[1]}\n" in other.text
                assert {one.answers, other.answers} == {("A",), ("B",)}
                asked = by_key[key.replace("/first/", "/second/")]
                assert (asked.answers == one.answers) == (asked is one)


def test_figures_are_by_length_segment_and_distance_and_both_means_are_given(
    inputs: Inputs,
) -> None:
    task = replace(SMALL, lengths=(250, 1000), segments=(20, 50))
    plans = [
        plan for plan in task.plans(inputs) if "1000 words" not in plan.name or "101" in plan.name
    ]
    recorder = InMemory()

    def only_short(read: str, a: str, b: str) -> tuple[float, float]:
        return places(read, a, b) if len(read.split()) < 300 else (1.0, 0.0)

    run_plans([Readers(only_short)], plans, task.judge, recorder, silent)
    lines = [line for line in recorder.lines if line["key"] != "end"]
    found = {(one.kind, one.wanted, one.measure): one for one in task.figures(lines)}
    both = "right in both orders"
    for length in (250, 1000):
        for size in (20, 50):
            kind = f"{length} words, segments of {size}"
            edges = {wanted for name, wanted, _ in found if name == kind}
            assert edges == {length // 4, length // 3, length // 2, length * 4 // 5}
            value = found[f"segments of {size}", length, both].value
            assert value == (1 if length == 250 else 0.5)
    rows = found["all", None, both]
    mean = found["all", None, f"{both}, mean of the files"]
    assert (rows.asked, rows.value) == (64 + 32, (64 + 16) / 96)
    assert mean.value == 0.75
    assert mean.low < 0.75 < mean.high
    one = found["1000 words, segments of 20", 250, both]
    assert (one.asked, one.low < 0.5 < one.high) == (4, True)
    assert isinstance(one, Figure)
    recorder = InMemory()
    run_plans([Readers(places)], plans, task.judge, recorder, silent)
    lines = [line for line in recorder.lines if line["key"] != "end"]
    means = [one for one in task.figures(lines) if one.measure.endswith("of the files")]
    assert [(one.value, one.high) for one in means] == [(1.0, 1.0)]
    assert means[0].low == wilson(96, 96)[0] < 1  # all right so far is not all right for sure


def test_results_are_kept_from_the_first_answer_on(inputs: Inputs) -> None:
    """The published code stops at the first row where none was scored before it."""
    recorder = InMemory()
    plan = replace(SMALL, items=1).plans(inputs)[0]
    run_plans([Readers(places)], [plan], SMALL.judge, recorder, silent)
    assert len(recorder.lines) == 8 + 1
    figures = SMALL.figures(recorder.lines[:1])
    assert {one.measure for one in figures} == {
        "right in both orders", "right as published", "says A"
    }  # fmt: skip


def test_pairs_off_their_published_places_are_counted(tmp_path: Path) -> None:
    put_heading(make_folder(tmp_path / "booksort", (1000,)), 101, 47)
    task = replace(SMALL, lengths=(1000,), items=1)
    given = Inputs(tmp_path, words, 1, lambda: ())
    recorder = InMemory()
    run_plans([Readers(always_a)], task.plans(given), task.judge, recorder, silent)
    found = task.figures([line for line in recorder.lines if line["key"] != "end"])
    off = [one for one in found if one.measure == "pairs off by a heading"]
    assert [(one.kind, one.wanted, one.value) for one in off] == [
        ("segments of 20", 1000, 3 / 8),
        *(
            ("1000 words, segments of 20", at, 0 if at == 250 else 0.5)
            for at in (250, 333, 500, 800)
        ),
    ]


def test_answers_that_were_said_and_not_scored_are_marked(inputs: Inputs) -> None:
    lines = [{**line, "said": "B"} for line in lines_of(SMALL, inputs, places)]
    for line in lines:
        del line["scores"]
    measures = {one.measure for one in SMALL.figures(lines)}
    assert measures == {
        f"{name}, by the letter said"
        for name in ("right in both orders", "right as published", "says A")
    }


def test_every_way_of_naming_a_label_counts_and_the_bare_letter_alone_where_asked() -> None:
    scores = [(-1.0, 1), (-2.0, 1), (-9.0, 1), (-0.5, 1)]
    assert dict(zip(OPTIONS, scores)) == {
        "A": (-1.0, 1), "B": (-2.0, 1), " A": (-9.0, 1), " B": (-0.5, 1)
    }  # fmt: skip
    assert decided(scores) == {"A": -1.0, "B": -0.5}
    assert decided(scores, bare_only=True) == {"A": -1.0, "B": -2.0}


def test_a_wording_is_chosen_on_excerpts_that_are_in_no_figure(inputs: Inputs) -> None:
    task = replace(SMALL, part="validation", wording="all")
    plans = task.plans(inputs)
    assert [plan.name[-3:] for plan in plans] == ["100"] * len(TITLES)
    kinds = {question.kind for plan in plans for question in plan.questions}
    assert kinds == {f"250 words, segments of 20, {name}" for name in WORDINGS}
    other = replace(SMALL, wording="scenes").plans(inputs)[0]
    assert other.name == SMALL.plans(inputs)[0].name
    assert {one.key.split("/")[2] for one in other.questions} == {"scenes"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ends": ("last",)}, "first, second"),
        ({"wording": "best"}, "pieces"),
        ({"lengths": ()}, "at least one"),
        ({"items": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        SortTask(**options)


def test_a_length_that_book_sort_lacks_and_data_that_are_missing_are_named(
    inputs: Inputs, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"300.*Book-SORT has 250"):
        SortTask(lengths=(300,)).plans(inputs)
    with pytest.raises(MissingDataError, match=r"booksort.*CC0"):
        SMALL.plans(Inputs(tmp_path, words, 1, lambda: ()))
    (tmp_path / "booksort").mkdir()
    with pytest.raises(MissingDataError, match=r"booksort: .*CC0"):
        SMALL.plans(Inputs(tmp_path, words, 1, lambda: ()))
    (tmp_path / "booksort" / "README.md").write_text("Fetched in part.")
    with pytest.raises(MissingDataError, match=r"booksort/\S+\.csv.*CC0"):
        SMALL.plans(Inputs(tmp_path, words, 1, lambda: ()))


@pytest.fixture(scope="module")
def plan(inputs: Inputs) -> Plan:
    (plan, *_) = replace(SMALL, lengths=(250,)).plans(replace(inputs, reference=SHARED.reference))
    return plan


def test_a_prompt_that_does_not_fit_is_refused_and_never_cut(plan: Plan) -> None:
    """Cut on the right it would lose its question."""
    model = SHARED.mplus
    (system,) = make_systems(["bare"], SHARED)
    session = system.open(0)
    assert isinstance(session, Scores)
    question = next(plan.questions).text
    long = ChatPrompt("word " * model.core.positions + question, "Answer: Segment")
    with pytest.raises(PositionsError):
        session.score([long], [OPTIONS])


@pytest.mark.long
@pytest.mark.parametrize("name", ["mplus", "nothing", "bare"])
def test_scores_do_not_depend_on_what_is_asked_beside(plan: Plan, name: str) -> None:
    (system,) = make_systems([name], SHARED)
    session = system.open(0)
    session.write(plan.steps[0].pieces)
    assert isinstance(session, Scores)
    prompts = [ChatPrompt(one.text[-60:], "Answer: Segment") for one in plan.questions]
    together = session.score(prompts, [OPTIONS] * len(prompts))
    for prompt, found in zip(prompts, together, strict=True):
        assert session.score([prompt], [OPTIONS]) == [found]
