import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memplus.errors import ConfigError
from memplus.evaluation.planting import Fact, distance_edges, plant, spread


def tokenize(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """One token per word, its leading white space included."""
    spans = [match.span() for match in re.finditer(r"\s*\S+", text)]
    return [len(text[a:b]) for a, b in spans], spans


def fact(index: int) -> Fact:
    return Fact(f"Box {index} holds item{index}.", f"What does box {index} hold?", f"item{index}")


BOOK = " ".join(f"Sentence number {i} is here." for i in range(400))


def test_distance_counts_the_tokens_after_the_statement() -> None:
    planted = plant(BOOK, [fact(0)], distances=[100], tokenize=tokenize).planted[0]
    text = plant(BOOK, [fact(0)], distances=[100], tokenize=tokenize).text
    rest = text[text.index(fact(0).statement) + len(fact(0).statement) :]
    assert planted.distance == len(rest.split())
    assert abs(planted.distance - 100) <= 5


def test_every_fact_stands_once_behind_a_sentence_and_nothing_is_lost() -> None:
    facts = [fact(i) for i in range(40)]
    made = plant(BOOK, facts, distances=spread(40, [0, 500, 2000]), tokenize=tokenize)
    bare = made.text
    for one in facts:
        assert bare.count(f". {one.statement}") == 1
        bare = bare.replace(f" {one.statement}", "")
    assert bare == BOOK


def test_planted_facts_run_from_far_to_near() -> None:
    made = plant(BOOK, [fact(i) for i in range(3)], distances=[5, 900, 300], tokenize=tokenize)
    assert [p.fact for p in made.planted] == [fact(1), fact(2), fact(0)]
    distances = [p.distance for p in made.planted]
    assert distances == sorted(distances, reverse=True)
    assert len(made.ids) == len(made.text.split())


def test_many_facts_land_at_their_distances_whatever_stands_nearer() -> None:
    wanted = spread(60, [0, 500, 1000, 1500])
    made = plant(BOOK, [fact(i) for i in range(60)], distances=wanted, tokenize=tokenize)
    found = sorted(one.distance for one in made.planted)
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 12


def test_more_facts_than_sentences_is_refused() -> None:
    with pytest.raises(ConfigError, match="only 1 sentences"):
        plant("One. two", [fact(0), fact(1)], distances=[0, 1], tokenize=tokenize)


@given(st.integers(1, 2_000_000))
def test_edges_cover_the_text_and_rise(total: int) -> None:
    edges = distance_edges(total)
    assert edges[0] == 0
    assert edges[-1] == total
    assert all(low < high for low, high in pairwise(edges))


@given(st.integers(0, 200), st.integers(1, 300_000))
def test_spread_gives_each_bin_its_share(count: int, total: int) -> None:
    edges = distance_edges(total)
    distances = spread(count, edges)
    assert len(distances) == count
    shares = [sum(low <= d < high for d in distances) for low, high in pairwise(edges)]
    assert max(shares) - min(shares) <= 1


def test_a_paragraph_without_a_full_stop_is_a_place_too() -> None:
    text = "\n\n".join(f"step {i} = value {i}" for i in range(50))
    made = plant(text, [fact(0)], distances=[100], tokenize=tokenize)
    assert abs(made.planted[0].distance - 100) <= 5
    assert f"{fact(0).statement}\n\nstep" in made.text
