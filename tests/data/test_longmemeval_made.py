"""Histories made by rule: every answer follows from the turns that are named for it."""

import re
from collections import Counter
from datetime import datetime
from itertools import count
from random import Random

import pytest

from memplus.data.longmemeval import TYPES, ChatQuestion, History, records_of
from memplus.data.longmemeval_made import Material, make_history
from memplus.data.statements import HELD_OUT_TOPICS, read_corrections, read_statements
from memplus.errors import ConfigError


def words(texts: list[str]) -> list[list[int]]:
    return [[found.end() for found in re.finditer(r"\s*\S+\s*", text)] for text in texts]


def material() -> Material:
    held_out, passages = read_statements(HELD_OUT_TOPICS), count()
    return Material(
        held_out[:90],
        read_corrections(HELD_OUT_TOPICS),
        held_out[90:],
        read_statements(["travel", "family"]),
        lambda: f"Passage {next(passages)}\nof some words that say nothing at all.",
    )


@pytest.fixture(scope="module")
def made() -> History:
    return make_history(6_000, 9, 0, material(), words)


def of_type(made: History, kind: str) -> list[ChatQuestion]:
    return [one for one in made.questions if one.type == kind and not one.abstains]


def told(made: History, one: ChatQuestion) -> list[tuple[str, str]]:
    """Date and text of the turns that answer a question, in order."""
    sessions = {session.id: session for session in made.sessions}
    return [(sessions[name].date, sessions[name].turns[place].text) for name, place in one.turns]


def test_there_are_as_many_questions_of_each_type_as_asked_for(made: History) -> None:
    assert Counter(one.type for one in made.questions if not one.abstains) == dict.fromkeys(
        TYPES, 9
    )
    assert sum(one.abstains for one in made.questions) == 9
    assert len({one.id for one in made.questions}) == len(made.questions)


def test_sessions_are_dated_in_order_and_asked_about_later(made: History) -> None:
    dates = [one.date for one in made.sessions]
    assert dates == sorted(dates)
    for date in dates:
        assert f"{datetime.strptime(date, '%Y/%m/%d (%a) %H:%M'):%Y/%m/%d (%a) %H:%M}" == date
    assert all(one.date > dates[-1] for one in made.questions)


def test_a_history_fills_its_length_and_no_more(made: History) -> None:
    turns = [turn.text for session in made.sessions for turn in session.turns]
    tokens = sum(map(len, words(turns))) + len(turns)
    assert 5_900 < tokens <= 6_000


@pytest.mark.parametrize("kind", TYPES[:3])
def test_what_one_session_says_is_answered_by_one_turn(made: History, kind: str) -> None:
    for one in of_type(made, kind):
        ((_, text),) = told(made, one)
        assert one.answers[0].lower() in text.lower()
        ((name, place),) = one.turns
        role = next(s for s in made.sessions if s.id == name).turns[place].role
        assert role == ("assistant" if kind == TYPES[1] else "user")


def test_counted_things_are_told_in_as_many_sessions(made: History) -> None:
    for one in of_type(made, "multi-session"):
        assert len(one.sessions) == len(one.turns) == int(one.answers[-1])
        assert len({text for _, text in told(made, one)}) == len(one.turns)


def test_the_later_text_has_the_newer_value(made: History) -> None:
    for one in of_type(made, "knowledge-update"):
        (_, before), (_, after) = told(made, one)
        assert one.outdated is not None
        assert one.outdated.lower() in before.lower()
        assert one.answers[0].lower() in after.lower()


def test_times_follow_from_the_dates_of_the_sessions(made: History) -> None:
    asked = of_type(made, "temporal-reasoning")
    for one in asked:
        turns = told(made, one)
        days = [datetime.strptime(date.split(" ")[0], "%Y/%m/%d") for date, _ in turns]
        if "first" in one.text:
            assert turns[0][0] < turns[1][0]
            assert len(set(one.answers[0].split()) & set(turns[0][1].rstrip(".").split())) > 1
        elif "How many days" in one.text:
            assert one.answers[1] == str((days[1] - days[0]).days)
        else:
            assert one.answers[0] == f"{days[0]:%Y/%m/%d}"
    assert len({one.text.split(" ")[0] for one in asked}) > 2


def test_what_was_never_told_has_no_evidence(made: History) -> None:
    said = {turn.text for session in made.sessions for turn in session.turns}
    untold = [one for one in made.questions if one.abstains]
    assert all(not one.turns and not one.sessions for one in untold)
    assert not said & {one.text for one in material().untold}


def test_every_other_statement_is_told_once_before_prose_alone(made: History) -> None:
    said = Counter(turn.text for session in made.sessions for turn in session.turns)
    assert all(said[one.text] <= 1 for one in material().others)
    assert any("Passage" in text for text in said)


def test_all_of_it_follows_from_the_seed(made: History) -> None:
    assert make_history(6_000, 9, 0, material(), words) == made
    assert make_history(6_000, 9, 1, material(), words) != made


def test_it_can_be_written_in_the_published_format(made: History) -> None:
    records = records_of(made)
    assert len(records) == len(made.questions)
    assert {len(one["haystack_sessions"]) for one in records} == {len(made.sessions)}
    marked = [
        turn for one in records[0]["haystack_sessions"] for turn in one if "has_answer" in turn
    ]
    assert len(marked) == len(made.questions[0].turns)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fit into 300 tokens"):
        make_history(300, 20, 0, material(), words)


def test_fewer_things_to_tell_give_fewer_questions() -> None:
    few = Material([], [], [], material().others, material().passage)
    made = make_history(6_000, 50, Random(0).randrange(9), few, words)
    kinds = Counter(one.type for one in made.questions)
    assert kinds["single-session-user"] == kinds["knowledge-update"] == 0
    assert kinds["single-session-preference"] < 50
