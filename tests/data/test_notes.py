from __future__ import annotations

import os
import re
import subprocess
import sys
from random import Random

import pytest

from memplus.data.note_parts import PLACES, split_of
from memplus.data.notes import (
    ABSTENTION,
    NOTED,
    PROMPT_TEMPLATE,
    Note,
    corrected,
    make_notes,
    namesake,
    note_on,
    notes_about,
    notes_of,
    retold,
    side_by_side,
    untold,
)

TRAIN = make_notes(0, 3000, "train")
HELD_OUT = make_notes(0, 3000, "held_out")
OPEN = {"number", "word"}


def wording(note: Note, text: str) -> str:
    """The text with everything that belongs to this note alone taken out."""
    for part in (note.subject, note.attribute, note.answer):
        text = text.replace(part, "_")
    return text


def test_statement_and_question_name_the_fact_and_only_the_statement_tells_it() -> None:
    for note in TRAIN + HELD_OUT:
        assert note.subject in note.statement
        assert note.attribute in note.statement
        assert note.subject in note.question
        assert note.attribute in note.question
        assert re.search(rf"\b{note.answer}\b", note.statement)
        assert not re.search(rf"\b{note.answer}\b", note.question)


def test_splits_share_no_name() -> None:
    assert {n.subject for n in TRAIN}.isdisjoint(n.subject for n in HELD_OUT)


def test_splits_share_no_open_value() -> None:
    held_out = {n.answer for n in HELD_OUT if n.value_class in OPEN}
    assert held_out.isdisjoint(n.answer for n in TRAIN)
    assert len(held_out) > 100


@pytest.mark.parametrize("field", ["statement", "question"])
def test_splits_share_no_wording(field: str) -> None:
    train = {wording(n, getattr(n, field)) for n in TRAIN}
    held_out = {wording(n, getattr(n, field)) for n in HELD_OUT}
    assert train.isdisjoint(held_out)
    assert len(train) >= 5
    assert len(held_out) >= 3


def test_surnames_of_unseen_names_are_made_of_known_syllables() -> None:
    heads = {n.subject.split()[0] for n in TRAIN}
    assert {n.subject.split()[0] for n in HELD_OUT} <= heads


def test_same_seed_same_notes() -> None:
    assert make_notes(7, 40, "train") == make_notes(7, 40, "train")
    assert make_notes(7, 40, "train") != make_notes(8, 40, "train")


def test_the_deal_does_not_depend_on_the_process() -> None:
    code = "from memplus.data.notes import make_notes; print(make_notes(7, 5, 'held_out'))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert told == {repr(make_notes(7, 5, "held_out"))}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_no_question_has_two_answers(split: str) -> None:
    notes = make_notes(3, 60, split, subjects=12)  # type: ignore[arg-type]
    assert len({(n.subject, n.attribute) for n in notes}) == 60
    assert len({n.subject for n in notes}) <= 12


def test_notes_may_share_one_attribute() -> None:
    notes = make_notes(1, 6, "train", attributes=1)
    assert len({n.attribute for n in notes}) == 1
    assert len({n.subject for n in notes}) == 6


def test_more_notes_than_there_are_facts_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        make_notes(0, 40, "train", subjects=2)


def test_there_are_some_forty_attributes_of_ten_classes() -> None:
    assert len({n.attribute for n in TRAIN}) >= 40
    assert len({n.value_class for n in TRAIN}) == 10


def test_prompt_template_takes_a_question() -> None:
    assert PROMPT_TEMPLATE.format(question="Who?") == "\nQuestion: Who?\nAnswer:"
    assert ABSTENTION.endswith(".")


def test_people_may_share_a_first_name() -> None:
    notes = make_notes(2, 6, "held_out", attributes=1, first_names=1)
    assert len({n.subject for n in notes}) == 6
    assert len({n.subject.split()[0] for n in notes}) == 1


def test_a_note_can_be_asked_for_on_every_attribute() -> None:
    for noted in NOTED:
        notes = [note_on(noted, seed, "train") for seed in range(20)]
        assert {(one.attribute, one.value_class) for one in notes} == {noted}
        assert len({one.subject for one in notes}) > 15
        assert all(one.answer in one.statement for one in notes)
        assert notes[3] == note_on(noted, 3, "train")
    assert note_on(("gate code", "number"), 0, "train").subject.split()[0] in PLACES
    names = {one.subject for one in (note_on(NOTED[0], seed, "train") for seed in range(200))}
    assert {split_of(name) for name in names} == {"train"}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_correction_asks_the_same_and_answers_otherwise(split: str) -> None:
    for seed, note in enumerate(make_notes(4, 200, split)):  # type: ignore[arg-type]
        later = corrected(note, seed, split)  # type: ignore[arg-type]
        assert later.question == note.question
        assert later.answer != note.answer
        assert later.correction
        assert later.statement.endswith(f"{later.answer}.")
        assert note.subject in later.statement


def test_corrections_are_worded_otherwise_in_each_split() -> None:
    def wordings(split: str, notes: list[Note]) -> set[str]:
        made = [corrected(n, i, split) for i, n in enumerate(notes)]  # type: ignore[arg-type]
        return {wording(n, n.statement) for n in made}

    assert wordings("train", TRAIN).isdisjoint(wordings("held_out", HELD_OUT))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_namesake_has_nearly_the_same_name_and_another_note(split: str) -> None:
    kinds = set()
    for seed, note in enumerate(make_notes(5, 200, split)):  # type: ignore[arg-type]
        other = namesake(note, seed, split)  # type: ignore[arg-type]
        assert other.attribute == note.attribute
        assert other.subject != note.subject
        firsts, lasts = zip(note.subject.split(), other.subject.split(), strict=True)
        kinds.add((firsts[0] == firsts[1], lasts[0] == lasts[1], lasts[0][:3] == lasts[1][:3]))
        assert firsts[0] == firsts[1] or lasts[0] == lasts[1]
    assert len(kinds) == 3


def test_an_untold_attribute_is_none_of_those_told() -> None:
    for seed, note in enumerate(TRAIN[:200]):
        other = untold(note, seed, "train", [note.attribute])
        assert other.subject == note.subject
        assert other.attribute != note.attribute


def test_notes_about_given_people_name_them_and_follow_from_the_seed() -> None:
    people = ["Odile Quillfeather", "Kofi Lindqvist", "Ann O'Hara-Lee"]
    made = notes_about(people, 1, "held_out")
    assert [note.subject for note in made] == people
    assert all(note.subject in note.statement and note.subject in note.question for note in made)
    assert notes_about(people, 1, "held_out") == made != notes_about(people, 2, "held_out")


def test_notes_of_one_attribute_differ_in_their_four_digits() -> None:
    made = notes_about([f"Ann{i} Lee" for i in range(300)], 0, "held_out", one_attribute=True)
    assert len({note.attribute for note in made}) == 1
    assert len({note.answer for note in made}) == 300
    assert all(re.fullmatch(r"\d{4}", note.answer) for note in made)


class Given:
    """A source of names that are all one word."""

    def draw(self, random: Random, count: int, first_names: int | None = None) -> list[str]:
        return [f"Abc{random.randrange(10**9)}" for _ in range(count)]

    def near(self, name: str, random: Random) -> str:
        return f"{name}x"


@pytest.mark.parametrize("seed", range(12))
def test_notes_side_by_side_are_of_one_attribute_and_of_values_that_differ(seed: int) -> None:
    people = [f"Ann{i} Lee" for i in range(40)]
    notes = side_by_side(people, seed, "train", 0.8)
    assert [note.subject for note in notes] == people
    assert len({note.attribute for note in notes}) == 1
    assert all(f"{note.answer}." in note.statement for note in notes)
    if notes[0].value_class in ("number", "word"):
        assert len({note.answer for note in notes}) == 40
    assert side_by_side(people, seed, "train", 0.8) == notes


def test_values_side_by_side_share_a_half_with_another_as_often_as_asked() -> None:
    people = [f"Ann{i} Lee" for i in range(12)]

    def near(share: float) -> float:
        """Share of numbers of which some other one has a half."""
        found = []
        for seed in range(60):
            notes = side_by_side(people, seed, "train", share)
            if notes[0].value_class == "number":
                values = [note.answer for note in notes]
                found += [
                    any(v != w and (v[:2] == w[:2] or v[2:] == w[2:]) for w in values)
                    for v in values
                ]
        assert found
        return sum(found) / len(found)

    assert near(0.9) > 0.8
    assert near(0.0) < 0.4


def test_notes_of_given_people_follow_from_the_seed_and_share_what_is_asked() -> None:
    people = Given().draw(Random(0), 6)
    notes = notes_of(people, 3, 6, "train", attributes=1)
    assert [note.subject for note in notes] == people
    assert len({note.attribute for note in notes}) == 1
    assert notes == notes_of(people, 3, 6, "train", attributes=1)
    shared = notes_of(people[:2], 3, 8, "train")
    assert {note.subject for note in shared} == set(people[:2])
    with pytest.raises(ValueError, match="too few"):
        notes_of(people[:1], 0, 2, "train", attributes=1)


def test_a_note_is_told_again_of_another() -> None:
    note = make_notes(1, 1, "train")[0]
    other = retold(note, "Abc", 2, "train")
    assert (other.subject, other.attribute) == ("Abc", note.attribute)
    assert "Abc" in other.question


def test_namesakes_of_other_names_come_from_their_source() -> None:
    note = notes_of(["Abc Def"], 0, 1, "train")[0]
    assert namesake(note, 0, "train", Given()).subject == "Abc Defx"
    with pytest.raises(ValueError, match="Abc Def"):
        namesake(note, 0, "train")
    own = make_notes(0, 1, "train")[0]
    assert namesake(own, 0, "train", Given()) == namesake(own, 0, "train")


def test_notes_of_no_known_split_are_refused() -> None:
    with pytest.raises(ValueError, match="of a split of train, held_out, not of 'test'"):
        make_notes(0, 1, "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of a split of train, held_out, not of 'test'"):
        notes_of(["Ann Lee"], 0, 1, "test")  # type: ignore[arg-type]
