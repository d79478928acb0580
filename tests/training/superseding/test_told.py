"""What is told so that a rule can be fitted: nothing held out, and everything where it says."""

from __future__ import annotations

from random import Random

from memplus.data.passages import PassageQuestion, PassageQuestions
from memplus.data.statements import HELD_OUT_TOPICS, read_corrections, read_statements
from memplus.data.stream import Stream, Texts
from memplus.training.superseding.told import (
    Item,
    held_out_items,
    passage_items,
    tell,
    tell_alone,
    training_items,
)


def letters(texts: list[str]) -> list[list[int]]:
    return [list(range(1, len(text) + 1)) for text in texts]


def test_streams_tell_other_things_and_nothing_that_is_held_out() -> None:
    held_out = {one.text for one in read_statements(HELD_OUT_TOPICS)}
    held_out |= {t for one in read_corrections(HELD_OUT_TOPICS) for t in (one.text, one.later)}
    first, second = training_items(0, 40, 0), training_items(1, 40, 0)
    assert training_items(0, 40, 0) == first != training_items(0, 40, 1)
    for items in (first, second):
        texts = [one.text for one in items]
        assert len(set(texts)) == len(texts) > 100
        assert not held_out & {*texts, *(one.later for one in items)}
        assert 0.25 < sum(bool(one.later) for one in items) / len(items) < 0.6
    written = {one.text for one in (*read_statements(), *read_corrections())}
    made = [{one.text for one in items} - written for items in (first, second)]
    assert len(made[0]) > 50
    assert not made[0] & made[1]
    assert {one.text for one in held_out_items(40, 0)} <= held_out
    assert sum(bool(one.later) for one in held_out_items(40, 0)) == 28


def test_an_answer_stands_where_it_was_told_and_a_correction_after_what_it_corrects() -> None:
    texts = Texts.of(["One sentence stands here. Another one does too. And a third."], letters)
    stream = Stream(texts, 3, "told")
    items = training_items(0, 40, 5)
    asked = tell(stream, items, Random(1))
    whole = "".join(piece.text for piece in stream.pieces)
    assert sorted(one.question for one in asked) == sorted(one.question for one in items)
    known: dict[tuple[str, tuple[str, ...]], Item] = {}
    known |= {(one.question, one.answers): one for one in items}
    gaps = set()
    for one in asked:
        first, last = one.right.stated
        item = next(
            found for (question, answers), found in known.items()
            if question == one.question and whole[first:last].strip().lower() in
            [answer.lower() for answer in answers]
        )  # fmt: skip
        told = whole[one.right.start : one.right.end]
        assert told == f" {item.later or item.text}"
        assert (one.outdated is None) == (not item.later)
        if one.outdated is not None:
            assert whole[one.outdated.start : one.outdated.end] == f" {item.text}"
            gaps.add(one.right.start - one.outdated.end > 1000)
            assert one.outdated.end <= one.right.start
    assert gaps == {True, False}  # corrected at once, and long after


def test_passages_are_told_with_one_question_each_and_alone() -> None:
    known = [
        PassageQuestions(f"Passage {n}. It rains.", "", (PassageQuestion("What?", ("It rains",)),))
        for n in range(30)
    ]
    first, second = (passage_items(known, stream, 10, 0) for stream in (0, 1))
    assert len({one.text for one in first}) == 10
    assert first == passage_items(known, 0, 10, 0) != second
    assert len(passage_items(known[:3], 0, 10, 0)) == 3
    stream = Stream(Texts.of(["One. Two. Three."], letters), 0, "told")
    asked = tell_alone(stream, first[0])
    assert [one.text for one in stream.pieces] == [f" {first[0].text}"]
    assert asked.outdated is None
    start, end = asked.right.stated
    assert f" {first[0].text}"[start:end] == "It rains"
