import dataclasses
import re
from collections import Counter
from functools import cache

import pytest

from memplus.data import outside as facts
from memplus.data.statements import (
    HELD_OUT_TOPICS,
    Correction,
    Statement,
    StatementQuestion,
    read_corrections,
    read_statements,
    statement_topics,
)
from memplus.errors import UsageError

TOLD = read_statements()
ASKED = [(told, asked) for told in TOLD for asked in told.questions]
CORRECTED = read_corrections()
OFTEN = frozenset(
    "a an and as at but by for from had has have he her his i in is it its me my no not of on or "
    "our she so that the their there they this to was we were who with you your".split()
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


@cache
def telling(text: str) -> frozenset[str]:
    """The words of a text that tell it from others."""
    return frozenset(words(text)) - OFTEN


def alike(one: str, other: str) -> float:
    """Share of telling words in common, 0 to 1."""
    mine, others = telling(one), telling(other)
    return len(mine & others) / len(mine | others)


def stands(value: str, text: str) -> bool:
    """Whether a value is in a text as whole words."""
    return re.search(rf"(?<!\w){re.escape(value.casefold())}(?!\w)", text.casefold()) is not None


def test_there_are_enough_of_each_topic() -> None:
    counts = Counter(told.topic for told in TOLD)
    assert tuple(sorted(counts)) == statement_topics()
    assert len(counts) == 24
    assert min(counts.values()) >= 36
    assert len(TOLD) >= 900


def test_each_has_two_or_three_questions_and_one_to_three_sentences() -> None:
    for told in TOLD:
        assert 2 <= len(told.questions) <= 3, told.text
        ends = re.findall(r"[.!?]+[\"')]*(?=\s|$)", told.text)
        assert 1 <= len(ends) <= 3, told.text
        assert told.text == " ".join(told.text.split())
        assert re.search(r"[.!?][\"')]*$", told.text), told.text


def test_the_first_answer_stands_in_the_statement() -> None:
    for told, asked in ASKED:
        assert asked.answers[0].casefold() in told.text.casefold(), (told.text, asked)


def test_answers_are_short_and_none_is_given_away_by_its_question() -> None:
    for _, asked in ASKED:
        assert asked.question.endswith("?"), asked
        assert len(set(asked.answers)) == len(asked.answers), asked
        for answer in asked.answers:
            assert answer.strip() == answer, asked
            assert 1 <= len(answer.split()) <= 5, asked
            given = re.search(rf"\b{re.escape(answer.casefold())}\b", asked.question.casefold())
            assert not given, asked


def test_an_answer_is_long_enough_to_be_found_only_where_it_is_meant() -> None:
    for _, asked in ASKED:
        for answer in asked.answers:
            assert answer.isdigit() or len(answer) >= 2, asked
            assert answer.casefold() not in OFTEN, asked


def test_no_statement_and_no_question_comes_twice() -> None:
    assert max(Counter(" ".join(words(told.text)) for told in TOLD).values()) == 1
    assert max(Counter(" ".join(words(asked.question)) for _, asked in ASKED).values()) == 1


def test_no_two_statements_are_nearly_the_same() -> None:
    for i, told in enumerate(TOLD):
        for other in TOLD[:i]:
            assert alike(told.text, other.text) < 0.4, (told.text, other.text)


def test_no_two_statements_begin_alike() -> None:
    begins = Counter(" ".join(words(told.text)[:4]) for told in TOLD)
    assert max(begins.values()) <= 2, begins.most_common(3)


def test_no_question_copies_its_statement() -> None:
    for told, asked in ASKED:
        assert alike(told.text, asked.question) < 0.5, (told.text, asked)


def test_the_probe_shares_none_of_them() -> None:
    probe = facts.read_statements(facts.BUNDLED_STATEMENTS)
    for told, asked in ASKED:
        for one in probe:
            assert alike(told.text, one.statement) < 0.4, (told.text, one.statement)
            assert words(asked.question) != words(one.question)


def test_whole_topics_are_held_out_and_they_are_about_a_fifth() -> None:
    held_out = {"community", "cooking_recipes", "garden_outdoors", "pets"}
    assert set(HELD_OUT_TOPICS) == held_out < set(statement_topics())
    held = read_statements(HELD_OUT_TOPICS)
    kept = read_statements(t for t in statement_topics() if t not in HELD_OUT_TOPICS)
    assert {told.topic for told in held}.isdisjoint(told.topic for told in kept)
    assert len(held) + len(kept) == len(TOLD)
    assert 0.15 <= len(held) / len(TOLD) <= 0.25


def test_topics_come_in_the_order_asked_for_and_an_unknown_one_is_named() -> None:
    assert [*dict.fromkeys(t.topic for t in read_statements(["pets", "family"]))] == [
        "pets",
        "family",
    ]
    assert read_statements([]) == []
    with pytest.raises(UsageError, match=r"No topic is called 'pet'\. There are: .*pets"):
        read_statements(["pets", "pet"])


def test_statements_are_values() -> None:
    asked = StatementQuestion("Who?", ("Fen",))
    assert Statement("Fen did.", "family", (asked,)) == Statement("Fen did.", "family", (asked,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        asked.question = "What?"  # type: ignore[misc]


def test_there_are_corrections_of_every_topic() -> None:
    counts = Counter(one.topic for one in CORRECTED)
    assert tuple(sorted(counts)) == statement_topics()
    assert min(counts.values()) >= 6
    assert len(CORRECTED) >= 150
    held = read_corrections(HELD_OUT_TOPICS)
    kept = read_corrections(t for t in statement_topics() if t not in HELD_OUT_TOPICS)
    assert {one.topic for one in held} == set(HELD_OUT_TOPICS)
    assert len(held) + len(kept) == len(CORRECTED)
    assert 0.15 <= len(held) / len(CORRECTED) <= 0.25


def test_the_later_value_stands_in_the_later_text_and_not_in_the_first() -> None:
    for one in CORRECTED:
        assert stands(one.answers[0], one.later), one
        assert not any(answer.casefold() in one.text.casefold() for answer in one.answers), one


def test_the_outdated_value_stands_in_the_first_text_and_is_no_right_answer() -> None:
    for one in CORRECTED:
        assert stands(one.outdated[0], one.text), one
        for old in one.outdated:
            for answer in one.answers:
                assert not stands(old, answer), one
                assert not stands(answer, old), one


def test_some_corrections_name_the_outdated_value_again_and_most_do_not() -> None:
    """So that neither the last value in the text nor an unnamed one is always the right one."""
    naming = sum(any(stands(old, one.later) for old in one.outdated) for one in CORRECTED)
    assert 0.2 <= naming / len(CORRECTED) <= 0.5


def test_questions_of_corrections_give_neither_value_away() -> None:
    for one in CORRECTED:
        assert one.question.endswith("?"), one
        for value in (*one.answers, *one.outdated):
            assert value.strip() == value, one
            assert value.isdigit() or len(value) >= 2, one
            assert 1 <= len(value.split()) <= 5, one
            assert not stands(value, one.question), one


def test_a_correction_says_what_it_corrects() -> None:
    """Far from the first text it has to share a telling word with it, endings aside."""
    for one in CORRECTED:
        later, first = (
            {word[:4] for word in telling(text) if len(word) > 2} for text in (one.later, one.text)
        )
        assert later & first, one


def test_texts_of_corrections_are_one_to_three_sentences() -> None:
    for one in CORRECTED:
        for text in (one.text, one.later):
            assert 1 <= len(re.findall(r"[.!?]+[\"')]*(?=\s|$)", text)) <= 3, text
            assert re.search(r"[.!?][\"')]*$", text), text
            assert text == " ".join(text.split())


def test_corrections_repeat_no_statement_and_no_other_correction() -> None:
    probe = [one.statement for one in facts.read_statements(facts.BUNDLED_STATEMENTS)]
    said = [told.text for told in TOLD] + probe
    for i, one in enumerate(CORRECTED):
        for other in said + [before.text for before in CORRECTED[:i]]:
            assert alike(one.text, other) < 0.5, (one.text, other)
    asked = Counter(" ".join(words(one.question)) for one in CORRECTED)
    asked.update({" ".join(words(a.question)) for _, a in ASKED})
    assert max(asked.values()) == 1, asked.most_common(2)


def test_corrections_of_an_unknown_topic_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"No topic is called 'pet'\. There are: .*pets"):
        read_corrections(["pet"])
    assert read_corrections([]) == []


def test_corrections_are_values() -> None:
    one = Correction("At two.", "Now at three.", "pets", "When?", ("three",), ("two",))
    assert one == dataclasses.replace(one)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.later = "At four."  # type: ignore[misc]
