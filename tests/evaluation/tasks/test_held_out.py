from collections import Counter

import pytest

from memplus.data.passages import PassageQuestion, PassageQuestions
from memplus.data.statements import HELD_OUT_TOPICS, read_corrections, read_statements
from memplus.errors import ConfigError
from memplus.evaluation.tasks.held_out import (
    CORRECTION,
    STATEMENT,
    HeldOut,
    Part,
    passage_items,
    statement_items,
)
from memplus.evaluation.tasks.told import Item

ASKED = tuple(PassageQuestion(f"Question {number}?", (f"{number}",)) for number in range(5))
PASSAGES = [
    PassageQuestions(f"Passage {number}.", f"Topic {number % 10}", ASKED) for number in range(200)
]
POOL = HeldOut(
    (*passage_items("set", PASSAGES, (0, 9)), *statement_items((0, 9), (5,))), tuple(PASSAGES)
)


def dealt(part: Part = "figures", count: int = 20, seed: int = 1) -> tuple[list[Item], list[Item]]:
    telling = POOL.deal(count, seed, part)
    return list(telling.items), list(telling.untold)


def test_so_many_of_each_kind_are_told_and_half_as_many_never() -> None:
    told, untold = dealt()
    assert Counter(one.kind for one in told) == {"set": 20, STATEMENT: 20, CORRECTION: 20}
    assert Counter(one.kind for one in untold) == {"set": 10, STATEMENT: 10}
    assert all(len(one.questions) <= 2 for one in told)


def test_nothing_is_told_of_the_topics_that_are_asked_for_and_never_told() -> None:
    told, untold = dealt()
    topics = {one.topic for one in untold if one.kind == "set"}
    assert topics.isdisjoint(one.topic for one in told)
    texts = {one.text for one in told}
    assert texts.isdisjoint(one.text for one in untold)
    topic_of = {one.text: one.topic for one in PASSAGES}
    others = POOL.deal(20, 1).others
    assert len(others) == len(set(others)) > 100
    assert topics.isdisjoint(topic_of[text] for text in others)
    assert texts.isdisjoint(others)


def test_what_a_threshold_is_chosen_on_is_in_no_figure() -> None:
    everything = 1000
    seen = {part: set[str]() for part in ("figures", "threshold")}
    for part, texts in seen.items():
        for seed in range(3):
            told, untold = dealt(part, everything, seed)  # type: ignore[arg-type]
            texts |= {one.text for one in (*told, *untold)}
    assert seen["figures"].isdisjoint(seen["threshold"])
    share = len(seen["threshold"]) / sum(map(len, seen.values()))
    assert 0.15 < share < 0.35
    told, _ = dealt("threshold", everything)
    assert CORRECTION not in {one.kind for one in told}


def test_a_deal_follows_from_its_seed() -> None:
    assert dealt(seed=1) == dealt(seed=1)
    assert dealt(seed=1) != dealt(seed=2)


def test_statements_and_corrections_are_those_of_the_held_out_topics() -> None:
    items = statement_items((0,), (5,))
    kinds = Counter(one.kind for one in items)
    assert kinds[STATEMENT] == len(read_statements(HELD_OUT_TOPICS))
    assert kinds[CORRECTION] == len(read_corrections(HELD_OUT_TOPICS))
    assert {one.topic for one in items} == set(HELD_OUT_TOPICS)
    for one in items:
        if one.kind == CORRECTION:
            assert one.distances == (5,)
            assert one.outdated is not None
            assert one.outdated.casefold() in one.earlier.casefold()
            assert one.questions[0][1][0].casefold() in one.text.casefold()
    assert CORRECTION not in {one.kind for one in statement_items((0,), ())}


def test_its_digest_is_of_texts_and_questions() -> None:
    fewer = HeldOut(POOL.items[1:], POOL.others)
    reordered = HeldOut(POOL.items, POOL.others[1:])
    assert len({POOL.sha256, fewer.sha256, reordered.sha256}) == 3


def test_nothing_to_tell_is_refused() -> None:
    with pytest.raises(ConfigError, match="items"):
        HeldOut(()).deal(3, 0)
