from __future__ import annotations

from itertools import combinations, product
from string import Formatter

import pytest

from memplus.data.note_parts import (
    CLOSED,
    CORRECTIONS,
    FIRST_NAMES,
    NAME_HEADS,
    NAME_TAILS,
    PERSON_ATTRIBUTES,
    PLACE_ATTRIBUTES,
    PLACES,
    QUESTIONS,
    STATEMENTS,
    WORD_HEADS,
    WORD_TAILS,
    Split,
    split_of,
)


def fields(wording: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(wording) if name}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_statements_have_a_place_for_the_value_and_questions_have_none(split: Split) -> None:
    for wording in STATEMENTS[split] + CORRECTIONS[split]:
        assert fields(wording) == {"s", "a", "v"}
    for wording in QUESTIONS[split]:
        assert fields(wording) == {"s", "a"}


def test_every_attribute_has_values_and_belongs_to_one_class() -> None:
    attributes = PERSON_ATTRIBUTES + PLACE_ATTRIBUTES
    assert len({name for name, _ in attributes}) == len(attributes)
    assert {kind for _, kind in attributes} - {"number", "word"} == set(CLOSED)


@pytest.mark.parametrize(
    "parts", [FIRST_NAMES + PLACES, NAME_HEADS, NAME_TAILS, WORD_HEADS, WORD_TAILS]
)
def test_no_part_stands_twice(parts: tuple[str, ...]) -> None:
    assert len(set(parts)) == len(parts)


def test_no_value_of_one_class_is_a_value_of_another() -> None:
    for one, other in combinations(CLOSED.values(), 2):
        assert set(one).isdisjoint(other)


def test_a_fifth_of_the_words_is_held_out() -> None:
    words = [head + tail for head, tail in product(WORD_HEADS, WORD_TAILS)]
    held_out = sum(split_of(word) == "held_out" for word in words)
    assert 0.12 < held_out / len(words) < 0.28
