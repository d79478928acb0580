from random import Random
from typing import get_args

import pytest

from memplus.data.plain_names import ADJECTIVES, NOUNS, Kind, PlainNames
from memplus.errors import ConfigError

KINDS = get_args(Kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_is_given_out_twice(kind: Kind) -> None:
    names = PlainNames(Random(0))
    drawn = [names.draw(kind) for _ in range(2_000)]
    assert len(set(drawn)) == len(drawn)
    assert all(name.isascii() and name.replace(" ", "").isalpha() for name in drawn)


def test_names_follow_from_what_is_random() -> None:
    first, again, other = (PlainNames(Random(seed)) for seed in (1, 1, 2))
    assert [first.draw("town") for _ in range(9)] == [again.draw("town") for _ in range(9)]
    assert [first.draw("town") for _ in range(9)] != [other.draw("town") for _ in range(9)]


def test_where_names_run_out_it_is_said() -> None:
    names = PlainNames(Random(0))
    with pytest.raises(ConfigError, match="no more book names"):
        for _ in range(len(ADJECTIVES) * len(NOUNS) + 1):
            names.draw("book")


def test_no_word_stands_in_a_list_twice() -> None:
    for words in (ADJECTIVES, NOUNS):
        assert len(set(words)) == len(words)
