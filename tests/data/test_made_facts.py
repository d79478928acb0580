"""Made-up facts: endless, sound, unguessable, and with nothing of what is held out."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from memplus.data import outside
from memplus.data.made_facts import FactRelation, MadeFact, MadeFacts, fact_relations
from memplus.data.statements import HELD_OUT_TOPICS, read_corrections, read_statements

RELATIONS = fact_relations()
FACTS = [MadeFacts(0).fact(index) for index in range(2400)]
SLOT = re.compile(r"\{(\w+?)(?:\d+-\d+)?\}")


def wordings(one: FactRelation) -> Iterator[str]:
    yield from (*one.told, *one.pair, *one.later)
    for asked in one.asked.values():
        yield from asked


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.casefold())


def runs(text: str, length: int = 6) -> set[tuple[str, ...]]:
    """All runs of so many words."""
    found = words(text)
    return {tuple(found[at : at + length]) for at in range(len(found) - length + 1)}


def held_out() -> Iterator[str]:
    for told in read_statements(HELD_OUT_TOPICS):
        yield told.text
        yield from (one.question for one in told.questions)
    for change in read_corrections(HELD_OUT_TOPICS):
        yield from (change.text, change.later, change.question)
    for probe in outside.read_statements(outside.BUNDLED_STATEMENTS):
        yield from (probe.statement, probe.question)


def test_there_are_many_relations_with_enough_wordings_each() -> None:
    assert len(RELATIONS) >= 60
    assert len({one.topic for one in RELATIONS}) == len(RELATIONS)
    for one in RELATIONS:
        assert len(set(one.told)) >= 5
        assert len(set(one.asked["V"])) >= 3
        assert len(set(one.later)) >= 4
        assert one.pair
    assert sum(len(one.asked) > 1 for one in RELATIONS) >= 20


@pytest.mark.parametrize("one", RELATIONS, ids=lambda one: one.topic)
def test_wordings_name_what_they_tell_of(one: FactRelation) -> None:
    for told in one.told:
        assert {"S", "V"} <= set(SLOT.findall(told))
    for pair in one.pair:
        assert {"S", "V", "T", "U"} <= set(SLOT.findall(pair))
    for later in one.later:
        assert {"S", "V"} <= set(SLOT.findall(later))
        assert not {"W", "X", "T", "U"} & set(SLOT.findall(later))
    for name, asked in one.asked.items():
        assert all(SLOT.findall(question) == ["S"] for question in asked)
        assert any("{" + name + "}" in told for told in one.told)
    for text in wordings(one):
        assert not re.search(r"  | [.,?!]|\.\.", text)


def test_a_fact_follows_from_seed_and_index_alone() -> None:
    again = MadeFacts(0)
    for index in (2399, 7, 850):
        assert again.fact(index) == FACTS[index]
    assert again.fact(7, attempt=1) != FACTS[7]
    assert again.fact(7, attempt=1).topic == FACTS[7].topic
    assert MadeFacts(1).fact(7) != FACTS[7]


def test_facts_differ_and_come_topic_by_topic() -> None:
    assert len({one.text for one in FACTS}) == len(FACTS)
    asked = [question.question for one in FACTS for question in one.questions]
    assert len(set(asked)) > 0.99 * len(asked)
    topics = MadeFacts(0).topics
    assert [one.topic for one in FACTS[: len(topics)]] == list(topics)
    assert {one.topic for one in FACTS[5 :: len(topics)]} == {topics[5]}


def test_answers_stand_once_in_what_is_told_and_not_in_the_question() -> None:
    for one in FACTS:
        for asked in one.questions:
            answer = asked.answer.lower()
            assert one.text.lower().count(answer) == 1
            assert answer not in asked.question.lower()
        if one.later:
            (first,) = one.questions
            assert one.later.lower().count(one.new_answer.lower()) == 1
            assert one.new_answer.lower() not in f"{one.text} {first.question}".lower()
            assert first.answer != one.new_answer


def test_answers_are_hard_to_guess() -> None:
    """Whoever gives the most frequent answer of a relation is seldom right."""
    made = MadeFacts("guess")
    count = len(RELATIONS)
    for place, relation in enumerate(RELATIONS):
        facts = [made.fact(place + count * index) for index in range(60)]
        answers = Counter(one.questions[0].answer for one in facts)
        assert answers.most_common(1)[0][1] <= 6, relation.topic
        assert len(answers) >= 25, relation.topic


def test_shares_of_corrections_and_of_statements_with_several_questions() -> None:
    changing = [one for one in FACTS if one.later]
    assert 0.35 < len(changing) / len(FACTS) < 0.45
    several = [one for one in FACTS if len(one.questions) > 1]
    assert 0.15 < len(several) / len(FACTS) < 0.4
    assert max(len(one.questions) for one in FACTS) >= 3


def test_the_same_is_told_of_two_subjects_in_one_statement() -> None:
    """Only who reads closely knows which value is whose."""
    of_topic = {one.topic: one for one in RELATIONS}
    pairs = 0
    for one in FACTS:
        forms = [
            re.compile(r".+".join(map(re.escape, question.split("{S}"))), re.IGNORECASE)
            for question in of_topic[one.topic].asked["V"]
        ]
        same = [asked for asked in one.questions if any(f.fullmatch(asked.question) for f in forms)]
        if len(same) > 1:
            pairs += 1
            assert len({asked.question for asked in same}) == len(same) == 2
            assert len({asked.answer for asked in same}) == 2
    assert pairs > 150


def parts(text: str) -> list[str]:
    """The literal parts of a wording, longest first."""
    return sorted((part.strip(" ,.?!:;").lower() for part in re.split(r"\{\w+?\}", text)), key=len)


def test_all_wordings_come_up() -> None:
    made = MadeFacts("wordings")
    count = len(RELATIONS)
    for place in range(0, count, 9):
        relation = RELATIONS[place]
        facts = [made.fact(place + count * index) for index in range(300)]
        said = " ".join(f"{one.text} {one.later}" for one in facts).lower()
        asked = " ".join(each.question for one in facts for each in one.questions).lower()
        for text in (*relation.told, *relation.pair, *relation.later):
            assert parts(text)[-1] in said
        for questions in relation.asked.values():
            assert all(parts(text)[-1] in asked for text in questions)


def test_texts_are_whole_sentences() -> None:
    wrong = re.compile(r"\.\.|  | [.,?!]|[?!]\.|[{}]|(?<=[.!?]) [a-z]|\b[Aa] [aeio](?!ne)\w")
    for one in FACTS:
        for text in (one.text, one.later, *(asked.question for asked in one.questions)):
            assert not wrong.search(text), text
            assert not text or (not text[0].islower() and text[-1] in ".!?"), text
            assert len(text) < 320


def test_nothing_is_worded_like_what_is_held_out() -> None:
    kept = set[tuple[str, ...]]().union(*map(runs, held_out()))
    assert len(kept) > 1000
    for relation in RELATIONS:
        assert not set[tuple[str, ...]]().union(*map(runs, wordings(relation))) & kept
    for one in FACTS:
        told = " ".join((one.text, one.later, *(asked.question for asked in one.questions)))
        assert not runs(told) & kept


def test_a_later_value_may_call_the_subject_by_a_shorter_name() -> None:
    named = [one for one in FACTS if re.search(r"\bmy colleague [A-Z]", one.text)]
    shorter = [one for one in named if "colleague" not in one.questions[0].question]
    assert 0.2 < len(shorter) / len(named) < 0.7


def test_several_facts_about_one_person_are_of_different_kinds() -> None:
    made, subjects = MadeFacts("one"), Counter[str]()
    for index in range(40):
        facts = made.about_one(index, 3)
        assert facts == made.about_one(index, 3)
        assert len({one.topic for one in facts}) == 3
        names = [set(re.findall(r"\b[A-Z][\w']+", one.text)) for one in facts]
        first, *others = names
        shared = first.intersection(*others)
        subjects[" ".join(sorted(shared))] += 1
        for one in facts:
            assert one.questions
            assert not shared or shared & set(re.findall(r"\b[A-Z][\w']+", one.text))
    assert subjects[""] <= 8  # some people are called by what they are to somebody alone
    assert len(subjects) > 25


def test_thousands_are_drawn_in_seconds() -> None:
    made = MadeFacts("fast")
    begun = time.process_time()
    drawn: list[MadeFact] = [made.fact(index) for index in range(2000)]
    assert len(drawn) == 2000
    assert time.process_time() - begun < 10
