import re
from collections import Counter
from itertools import islice

import pytest
from tests.evaluation.conftest import BOOKS, words, words_of

from memplus.data.notes import make_notes
from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.tasks.retention import (
    NOTE,
    UNKNOWN,
    UNTOLD,
    RetentionSizes,
    other_notes,
    parse_distances,
    retention_plan,
)

TEXTS = Texts.of(BOOKS, words)
CHUNK = 8
SIZES = RetentionSizes(12, (0, 50, 300, 2_000))
PLAN = retention_plan(TEXTS, CHUNK, SIZES, seed=3)
NOTES = make_notes(3, 12, "held_out")


def test_distances_are_read_as_people_write_them() -> None:
    assert parse_distances("160k, 1M,500,0,0.5k,1m") == (0, 500, 160_000, 1_000_000)


@pytest.mark.parametrize(
    "text", ["", "1k,,2k", "many", "-5", "1.5", "1g", "nan", "inf", "1e999", "1e308k"]
)
def test_distances_that_are_none_are_named(text: str) -> None:
    with pytest.raises(ConfigError, match="distances cannot be"):
        parse_distances(text)


@pytest.mark.parametrize(("notes", "distances"), [(0, (1,)), (4_001, (1,)), (5, ())])
def test_sizes_that_cannot_be_asked_are_refused(notes: int, distances: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        RetentionSizes(notes, distances)


def test_every_note_is_asked_once_at_every_distance_from_its_last_token() -> None:
    read: list[str] = []
    tokens = 0
    asked: Counter[tuple[str, int | None]] = Counter()
    for step in PLAN.steps:
        read += step.pieces
        tokens += step.tokens
        assert tokens == len(" ".join(read).split())
        for one in step.questions:
            if one.kind != NOTE:
                continue
            assert one.told is not None
            assert one.wanted is not None
            assert one.distance == tokens - one.told.end
            assert one.wanted <= one.distance < one.wanted + max(CHUNK, one.wanted / 100)
            note = next(note for note in NOTES if note.question == one.text)
            assert words_of(read, one.told.start, one.told.end) == note.statement
            assert one.answers == (note.answer,)
            asked[one.text, one.wanted] += 1
        assert tokens % CHUNK == 0
    assert asked == {(n.question, d): 1 for n in NOTES for d in SIZES.distances}


def test_what_was_never_told_is_asked_beside_every_fourth_note() -> None:
    kinds = Counter((one.kind, one.wanted) for one in PLAN.questions)
    assert all(kinds[NOTE, d] == 12 for d in SIZES.distances)
    assert all(kinds[kind, d] == 3 for kind in (UNKNOWN, UNTOLD) for d in SIZES.distances)
    others = islice(other_notes(3, {note.subject for note in NOTES}), 500)
    told = {(n.subject, n.attribute) for n in [*NOTES, *others]}
    subjects = {subject for subject, _ in told}
    for one in PLAN.questions:
        if one.kind == NOTE:
            continue
        assert one.answers == ()
        named = [subject for subject in subjects if subject in one.text]
        if one.kind == UNKNOWN:
            assert not named
        else:
            assert len(named) == 1
            assert all((named[0], a) not in told for _, a in told if f"'s {a}?" in one.text)


def test_others_are_not_about_those_who_are_asked_for() -> None:
    taken = {note.subject for note in NOTES} | {next(other_notes(3, set())).subject}
    others = list(islice(other_notes(3, taken), 1_000))
    assert taken.isdisjoint(note.subject for note in others)
    assert len({note.subject for note in others}) > 300


def test_a_plan_follows_from_its_seed() -> None:
    assert retention_plan(TEXTS, CHUNK, SIZES, seed=3) == PLAN
    assert retention_plan(TEXTS, CHUNK, SIZES, seed=4) != PLAN
    assert len(PLAN.once) == 12
    keys = [one.key for one in PLAN.questions]
    assert len(set(keys)) == len(keys)


def test_notes_can_be_about_given_people_and_so_are_the_questions_about_nobody() -> None:
    people = [f"Person {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    plan = retention_plan(TEXTS, CHUNK, SIZES, 3, people)
    about: dict[str, set[str]] = {}
    for question in plan.questions:
        (subject,) = [one for one in people if re.search(rf"\b{one}\b", question.text)]
        about.setdefault(question.kind, set()).add(subject)
    assert len(about[NOTE]) == 12
    assert about[UNTOLD] < about[NOTE]
    assert len(about[UNKNOWN]) == 3
    assert about[UNKNOWN].isdisjoint(about[NOTE])


def test_too_few_people_are_counted_out() -> None:
    with pytest.raises(ConfigError, match="there are 23 names, and 24 are needed"):
        retention_plan(TEXTS, CHUNK, SIZES, 3, [f"Person {index}" for index in range(23)])
