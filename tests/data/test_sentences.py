from __future__ import annotations

from random import Random

import pytest

from memplus.data.sentences import split_sentences, whole_sentences

TEXT = (
    'Mr. Brown went to J. P. Morgan. "Who is there?" asked Dr. No.\n\nA HEADING\n\n  "Yes!" he '
    "said."
    " The 3.5 value... and then it rained, e.g. not. By the way, X's code is 4821."
)
SENTENCES = [
    "Mr. Brown went to J. P. Morgan.",
    '"Who is there?" asked Dr. No.',
    "A HEADING",
    '"Yes!" he said.',
    "The 3.5 value... and then it rained, e.g. not.",
    "By the way, X's code is 4821.",
]


def test_sentences_end_at_stops_and_paragraphs_and_not_at_abbreviations() -> None:
    assert [TEXT[a:b] for a, b in split_sentences(TEXT)] == SENTENCES
    assert split_sentences(" \n ") == []
    assert split_sentences("no stop") == [(0, 7)]


@pytest.mark.parametrize("seed", range(40))
def test_a_text_that_comes_in_pieces_gives_the_same_sentences(seed: int) -> None:
    random, waiting, found, place = Random(seed), "", [], 0
    while place < len(TEXT):
        size = random.randint(1, 25)
        waiting += TEXT[place : place + size]
        place += size
        spans, rest = whole_sentences(waiting)
        found += [waiting[a:b] for a, b in spans]
        waiting = waiting[rest:]
    found += [waiting[a:b] for a, b in split_sentences(waiting)]
    assert found == SENTENCES


def test_the_last_sentence_waits_for_what_follows() -> None:
    assert whole_sentences("It rained. He left.") == ([(0, 10)], 10)
    assert whole_sentences("It cost 3.") == ([], 0)
    assert whole_sentences("One line\n\n") == ([], 0)
    assert whole_sentences("One line\n\nand more") == ([(0, 8)], 10)
