import dataclasses
import re
from collections import Counter

import pytest

from memplus.data import facts
from memplus.data.statements import (
    HELD_OUT_TOPICS,
    Statement,
    StatementQuestion,
    read_statements,
    statement_topics,
)
from memplus.errors import UsageError

TOLD = read_statements()
ASKED = [(told, asked) for told in TOLD for asked in told.questions]
OFTEN = frozenset(
    "a an and as at but by for from had has have he her his i in is it its me my no not of on or "
    "our she so that the their there they this to was we were who with you your".split()
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def telling(text: str) -> frozenset[str]:
    """The words of a text that tell it from others."""
    return frozenset(words(text)) - OFTEN


def alike(one: str, other: str) -> float:
    """Share of telling words in common, 0 to 1."""
    mine, others = telling(one), telling(other)
    return len(mine & others) / len(mine | others)


def test_there_are_enough_of_each_topic() -> None:
    counts = Counter(told.topic for told in TOLD)
    assert tuple(sorted(counts)) == statement_topics()
    assert len(counts) >= 12
    assert min(counts.values()) >= 36
    assert len(TOLD) >= 430


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
    assert {"garden_outdoors", "pets"} <= set(HELD_OUT_TOPICS) < set(statement_topics())
    held = read_statements(HELD_OUT_TOPICS)
    kept = read_statements(t for t in statement_topics() if t not in HELD_OUT_TOPICS)
    assert {told.topic for told in held}.isdisjoint(told.topic for told in kept)
    assert len(held) + len(kept) == len(TOLD)
    assert 0.1 <= len(held) / len(TOLD) <= 0.25


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
