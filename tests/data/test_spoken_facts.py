from random import Random

import pytest

from memplus.data.note_parts import CLOSED, Split, split_of
from memplus.data.spoken_facts import SpokenFact, SpokenFacts, relation_split

TRAIN, HELD_OUT = SpokenFacts(), SpokenFacts("held_out")
CLOSED_WORDS = {word for words in CLOSED.values() for word in words}


def drawn(facts: SpokenFacts, count: int = 200) -> list[SpokenFact]:
    return [facts.draw(Random(seed)) for seed in range(count)]


@pytest.mark.parametrize("facts", [TRAIN, HELD_OUT])
def test_subject_and_value_stand_in_what_is_told(facts: SpokenFacts) -> None:
    for one in drawn(facts):
        assert one.subject in one.statement
        assert one.value in one.statement
        assert one.value in one.later
        assert one.subject not in one.later
        assert one.subject in one.question
        assert one.value in one.whose
        assert one.value not in one.question.replace(one.subject, "").split()


def test_the_splits_share_no_attribute_and_no_open_value() -> None:
    told = {split: drawn(facts) for split, facts in (("train", TRAIN), ("held_out", HELD_OUT))}
    for one in told["train"]:
        assert relation_split(one.relation) == "train"
    held = {one.relation for one in told["held_out"] if relation_split(one.relation) == "held_out"}
    assert len(held) > 3
    for split, facts in told.items():
        for one in facts:
            if one.value.isdigit():
                assert split_of(one.value) == split


def test_a_fact_about_somebody_is_about_them() -> None:
    assert {TRAIN.draw(Random(seed), "Ada Holt").subject for seed in range(20)} == {"Ada Holt"}


def test_a_changed_fact_has_another_value_of_the_same_kind() -> None:
    for seed, one in enumerate(drawn(TRAIN, 100)):
        later = TRAIN.changed(one, Random(seed))
        assert (later.subject, later.relation) == (one.subject, one.relation)
        assert later.value != one.value
        assert later.value.isdigit() == one.value.isdigit()
        assert (later.value in CLOSED_WORDS) >= (one.value in CLOSED_WORDS and one.value.islower())


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_the_same_seed_gives_the_same_fact(split: Split) -> None:
    facts = SpokenFacts(split)
    assert drawn(facts, 5) == drawn(facts, 5)
