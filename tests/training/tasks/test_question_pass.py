"""One pass without a model: what is asked stands where it is said to stand."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from memplus.training.tasks.asked import Kind
from memplus.training.tasks.question_mix import QuestionMix
from memplus.training.tasks.question_pass import QuestionPass, Written
from memplus.training.tasks.question_texts import Item, QuestionSource, TokenQuestion
from memplus.training.tasks.telling import Pool, Teller
from memplus.training.tasks.told_before import ToldBefore


class Numbers:
    """Spells nothing but separators and the abstention."""

    @property
    def abstention(self) -> list[int]:
        return [9000, 0]

    def text(self, text: str) -> tuple[list[int], list[int]]:
        return [len(text)], [len(text)]

    def question(self, question: str) -> list[int]:
        raise AssertionError("items are made already")

    answer = question


def passage(mark: int) -> Item:
    """Ten tokens of their own, the fifth of which is asked for."""
    ids = tuple(range(mark * 10, mark * 10 + 10))
    return Item((ids,), "", (TokenQuestion((1, mark), (mark * 10 + 4, 0), 0, 4, 4),))


def tokens(first: int, last: int) -> tuple[int, int]:
    return first, last


def pass_of(before: ToldBefore, clock: int = 0, tail: int = 0, **mix: Any) -> QuestionPass:
    given = QuestionMix((QuestionSource("statements"),), **{"untold": 0.0, "continued": 0} | mix)
    teller = Teller([Pool([passage(mark) for mark in range(100, 400)], 1.0)], before, given)
    return QuestionPass(given, 12, teller, Written(64, tail, clock, tokens), Numbers())


def test_an_answer_stands_in_the_rows_that_are_named() -> None:
    one = pass_of(ToldBefore(1, 1000), continued=2)
    for seed in range(5):
        told = one.tell(0, None, Random(seed))
        assert len(told.ids) == 64
        rows = one.rows(0, told, Random(seed))
        assert [row.kind for row in rows[:2]] == [Kind.CONTINUED] * 2
        for row in rows:
            assert row.rows is not None
            first, last = row.rows
            stands = told.ids[first : last + 1]
            whole = row.kind == Kind.CONTINUED
            assert stands == list(row.answer if whole else row.answer[:-1])


def test_what_is_left_unwritten_stands_before_the_prompt_and_in_no_row() -> None:
    one = pass_of(ToldBefore(1, 1000), tail=40)
    told = one.tell(0, None, Random(0))
    rows = one.rows(0, told, Random(0))
    assert all(list(row.tail) == told.ids[64:] for row in rows if row.kind == Kind.TOLD)
    unwritten = [row for row in rows if row.rows is None]
    assert unwritten
    assert all(row.answer[0] in row.tail for row in unwritten)


def test_a_later_pass_asks_for_what_an_earlier_one_wrote_and_not_for_what_it_forgot() -> None:
    before = ToldBefore(1, 1000)
    first = pass_of(before)
    told = first.tell(0, None, Random(0))
    first.remember(before, 0, told)
    second = pass_of(before, clock=64, earlier=1.0)
    now = second.tell(0, None, Random(1))
    assert not set(now.ids) & set(told.ids) - {2, 1}
    asked = [row for row in second.rows(0, now, Random(1)) if row.kind == Kind.EARLIER]
    assert asked
    for row in asked:
        assert row.rows is not None
        assert told.ids[row.rows[0] + 64] == row.answer[0]
    before.expire(clock=2000)
    later = second.rows(0, now, Random(1))
    assert all(row.kind != Kind.EARLIER for row in later)


def test_what_was_corrected_is_asked_for_as_often_as_is_wanted() -> None:
    def item(mark: int) -> Item:
        parts = tuple(tuple(range(part, part + 8)) for part in (mark * 20, mark * 20 + 10))
        asked = (TokenQuestion((1, mark), (part[4], 0), at, 4, 4) for at, part in enumerate(parts))
        return Item(parts, "", tuple(asked))

    def later(kind: Kind, share: float) -> list[bool]:
        before, found = ToldBefore(1, 4000), []
        pools = [Pool([item(mark) for mark in range(400)], 1.0)]
        for clock in range(20):
            one = pass_of(before, clock=64 * clock, earlier=0.5, corrected=share, corrects=3)
            one = replace(one, reads=3, teller=Teller(pools, before, one.mix))
            told = one.tell(0, None, Random(clock))
            rows = one.rows(0, told, Random(clock))
            found += [row.answer[0] % 20 == 14 for row in rows if row.kind == kind]
            one.remember(before, 0, told)
        return found

    for kind in (Kind.TOLD, Kind.EARLIER):
        never, always = (sum(found) / len(found) for found in (later(kind, 0.0), later(kind, 1.0)))
        assert always > 0.8 > never + 0.2


def test_untold_is_answered_by_the_abstention() -> None:
    one = pass_of(ToldBefore(1, 1000), untold=1.0)
    rows = one.rows(0, one.tell(0, None, Random(0)), Random(0))
    assert {row.kind for row in rows} == {Kind.UNTOLD}
    assert {tuple(row.answer) for row in rows} == {(9000, 0)}


def test_the_run_s_own_text_is_told_and_not_asked_for() -> None:
    one = pass_of(ToldBefore(1, 1000))
    teller = Teller(one.teller.pools, one.teller.before, replace(one.mix, plain=0.9))
    plain = QuestionPass(one.mix, 12, teller, one.written, one.spelling)
    told = plain.tell(0, range(5000, 5020), Random(0))
    assert set(range(5000, 5020)) <= set(told.ids)
    assert all(one.asked.answer[0] < 5000 for one in told.questions)
