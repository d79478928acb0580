from __future__ import annotations

from random import Random

import pytest

from memplus.data.note_parts import Split, split_of
from memplus.data.relations import (
    ASKED,
    QUESTION_KINDS,
    RELATIONS,
    UNSEEN_RELATIONS,
    Fact,
    joined,
    make_organisations,
    make_people,
    question_about,
    statement_of,
)

SPLITS: tuple[Split, ...] = ("train", "held_out")


def test_names_are_dealt_to_the_splits_and_none_is_in_both() -> None:
    made = {
        split: set(make_people(Random(1), 60, split))
        | set(make_organisations(Random(1), 60, split))
        for split in SPLITS
    }
    assert not made["train"] & made["held_out"]
    for split in SPLITS:
        assert len(made[split]) == 120
        assert all(split_of(name) == split for name in made[split])


def test_a_statement_names_everybody_and_the_relation_as_it_is_said() -> None:
    manager = next(one for one in RELATIONS if one.name == "manager of")
    for split in SPLITS:
        for seed in range(20):
            one = statement_of(["Nadia Brook"], manager, "Tern Lines", Random(seed), split)
            two = statement_of(["A B", "C D", "E F"], manager, "Tern Lines", Random(seed), split)
            assert "Nadia Brook" in one
            assert "a manager of Tern Lines" in one
            assert "A B, C D and E F" in two
            assert "managers of Tern Lines" in two


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_a_question_says_what_is_known_and_nothing_else(kind: str) -> None:
    fact = Fact("Nadia Brook", RELATIONS[1], "Tern Lines")
    for split in SPLITS:
        for seed in range(20):
            asked = question_about(kind, fact, Random(seed), split)  # type: ignore[arg-type]
            assert ("Nadia Brook" in asked) == ("p" in kind)
            assert ("Tern Lines" in asked) == ("o" in kind)
            assert ("manager" in asked) == ("r" in kind)
    other = question_about("ro", fact, Random(0), "train", alias=True)
    assert "head of Tern Lines" in other


def test_wordings_and_relations_of_a_test_are_in_no_training() -> None:
    for kind in QUESTION_KINDS:
        assert not set(ASKED["train"][kind]) & set(ASKED["held_out"][kind])
    known = {one.name for one in RELATIONS}
    assert len(known) == len(RELATIONS)
    assert not known & {one.name for one in UNSEEN_RELATIONS}
    assert UNSEEN_RELATIONS[0].singular == "an auditor of"
    assert UNSEEN_RELATIONS[0].plural == "auditors of"


def test_names_in_a_row() -> None:
    assert joined(["A"]) == "A"
    assert joined(["A", "B"]) == "A and B"
    assert joined(["A", "B", "C"]) == "A, B and C"
