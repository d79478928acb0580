"""What a document is told in a pass, in which order, and what it is asked though it was not."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from memplus.training.tasks.endless import EndlessItems
from memplus.training.tasks.question_mix import QuestionMix
from memplus.training.tasks.question_texts import Item, TokenQuestion
from memplus.training.tasks.telling import NO_SOURCE, Pool, Stretch, Teller, Telling, stretch
from memplus.training.tasks.told_before import ToldBefore


def passage(mark: int, length: int = 10, topic: str = "") -> Item:
    question = TokenQuestion((1,), (mark, 0), 0, 3, 4)
    return Item((tuple([mark] * length),), topic or str(mark), (question,))


def changing(mark: int) -> Item:
    old, new = (TokenQuestion((1,), (part, 0), part, 0, 1) for part in (0, 1))
    return Item(((mark,) * 4, (mark + 1,) * 4), "changing", (old, new))


def teller(*items: Item, before: ToldBefore | None = None, **mix: Any) -> Teller:
    before = before or ToldBefore(1, 1000)
    return Teller([Pool(items, 1.0)], before, QuestionMix(**{"plain": 0.15} | mix))


def tell(one: Teller, length: int, seed: int, plain: Item | None = None) -> Stretch:
    return one.tell(0, length, plain, [(7,)], Random(seed))


def test_a_stretch_is_as_long_as_asked_and_its_questions_lie_in_it() -> None:
    marks = iter(range(100, 200))
    made = stretch(35, lambda: Telling(passage(next(marks)), 0, 0), [(7,)], Random(0))
    assert len(made.ids) == 35
    assert [one.asked.answer[0] for one in made.questions] == [100, 101, 102]
    for one in made.questions:
        assert made.ids[one.first : one.last + 1] == [one.asked.answer[0]] * 2


def test_a_correction_is_told_some_passages_after_what_it_corrects() -> None:
    both = changing(50)
    for seed in range(20):
        items = [Telling(both, 0, 0, (0, 1))]
        items += [Telling(passage(100 + index), 0, 1 + index) for index in range(30)]
        made = stretch(60, partial(next, iter(items)), [(7,)], Random(seed))
        asked = [one.asked for one in made.questions if one.telling.item is both]
        assert asked == [both.questions[1]]
        assert made.ids.index(51) > made.ids.index(100) > made.ids.index(50)


def test_a_part_that_is_not_corrected_is_asked_for_itself() -> None:
    both = changing(50)
    made = stretch(4, lambda: Telling(both, 0, 0, (0,)), [(7,)], Random(0))
    assert [one.asked for one in made.questions] == [both.questions[0]]


def test_what_may_be_remembered_is_not_told_again_but_corrected() -> None:
    before = ToldBefore(1, 1000)
    items = [changing(50), *(passage(100 + index) for index in range(300))]
    for place in range(1, 30):
        before.add(0, (0, place), 0, 5, [])
    before.add(0, (0, 0), 0, 5, [])
    one = teller(*items, before=before)
    seen, corrected = set(), 0
    for seed in range(40):
        made = tell(one, 50, seed)
        seen |= set(made.ids) - {7}
        parts = [telling.parts for telling, _, _ in made.told if telling.place == 0]
        assert parts in ([], [(1,)])
        if parts:
            corrected += 1
            assert 51 in made.ids
            assert 50 not in made.ids
    assert 5 < corrected < 35
    assert not seen & set(range(100, 129))
    assert len(seen) > 50


def test_a_pass_corrects_as_many_earlier_items_as_it_may() -> None:
    before = ToldBefore(1, 1000)
    items = [changing(1000 + 2 * index) for index in range(100)]
    for place in range(50):
        before.add(0, (0, place), 0, 5, [])
    counts: dict[int, set[int]] = {}
    for most in (0, 1, 4):
        one = teller(*items, before=before, corrects=most)
        told = [tell(one, 200, seed).told for seed in range(30)]
        counts[most] = {sum(one.parts == (1,) for one, _, _ in made) for made in told}
    assert counts == {0: {0}, 1: {0, 1}, 4: counts[4]}
    assert {0, 4} <= counts[4] <= {0, 1, 2, 3, 4}


def test_a_document_of_one_topic_hears_of_nothing_else() -> None:
    items = [passage(100 + index, topic="even" if index % 2 == 0 else "odd") for index in range(20)]
    made = tell(teller(*items, one_topic=1.0), 60, 3)
    assert len({mark % 2 for mark in made.ids if mark >= 100}) == 1


def test_a_topic_without_more_is_left_rather_than_told_again() -> None:
    items = [passage(100 + index, topic=f"topic {index}") for index in range(40)]
    for seed in range(10):
        told = [one.key for one, _, _ in tell(teller(*items, one_topic=1.0), 60, seed).told]
        assert len(set(told)) == len(told) > 2


def test_a_topic_of_which_all_is_remembered_is_told_again_like_any_other() -> None:
    items = [passage(100 + index, topic="even" if index % 2 == 0 else "odd") for index in range(20)]
    before = ToldBefore(1, 1000)
    before.knows = lambda document, key: True  # type: ignore[method-assign]
    for seed in range(10):
        made = tell(teller(*items, before=before, one_topic=1.0), 60, seed)
        assert len({mark % 2 for mark in made.ids if mark >= 100}) == 1


def test_look_alikes_of_an_endless_source_are_found_without_making_all_of_it() -> None:
    made: list[int] = []

    def make(index: int, attempt: int) -> Item:
        made.append(index)
        return passage(100 + index, topic="even" if index % 2 == 0 else "odd")

    endless = EndlessItems("facts", make, ["even", "odd"])
    pools = [Pool(endless, 1.0), Pool([passage(11, topic="odd"), passage(12, topic="even")], 1.0)]
    one = Teller(pools, ToldBefore(1, 1000), QuestionMix(one_topic=1.0))
    for seed in range(10):
        found = tell(one, 60, seed)
        assert len({mark % 2 for mark in found.ids if mark != 7}) == 1
        assert one.untold(0, found, Random(seed)).answer[0] not in found.ids
    assert len(made) < 2000


def test_a_stretch_of_the_runs_texts_is_told_at_most_once() -> None:
    plain = Item((tuple([9] * 6),), "", ())
    told = [tell(teller(passage(100)), 60, seed, plain).told for seed in range(20)]
    counts = [sum(telling.source == NO_SOURCE for telling, _, _ in one) for one in told]
    assert set(counts) == {0, 1}


def test_what_is_remembered_is_not_asked_for_as_untold() -> None:
    before = ToldBefore(1, 1000)
    items = [passage(100 + index) for index in range(30)]
    for place in range(20):
        before.add(0, (0, place), 0, 5, [])
    one = teller(*items, before=before)
    made = tell(one, 20, 0)
    now = {telling.item.questions[0] for telling, _, _ in made.told}
    known = {item.questions[0] for item in items[:20]} | now
    asked = {one.untold(0, made, Random(seed)) for seed in range(60)}
    assert not asked & known
    assert len(asked) > 3
