"""Which spans a later one replaces: the fast rule against the slow one, and what it does."""

from __future__ import annotations

import pytest
import torch
from tests.reference.superseding import slow_features, slow_lifted, slow_replaced, some_keys

from memplus.memory.retriever import directions
from memplus.memory.superseding import COMPARED, FEATURES, lifted, pair_features, replaced


def asked(tokens: int, width: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.long
@pytest.mark.parametrize("tokens", [1, 2, 9, 12])
@pytest.mark.parametrize(("spans", "size"), [(4, 64), (2, 16), (3, 4)])
def test_features_are_those_of_a_slow_reference(tokens: int, spans: int, size: int) -> None:
    keys, queries = some_keys(spans, size, 6), asked(tokens, 6)
    births = [3 * size, 7, 8 * size, 9 * size][:spans]
    found = pair_features(queries, directions(keys), torch.tensor(births))
    assert found.shape == (spans, spans, len(FEATURES))
    for i in range(spans):
        for j in range(spans):
            expected = slow_features(queries, list(keys), births, i, j)
            assert found[i, j].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_what_is_replaced_is_what_a_slow_reference_says(seed: int) -> None:
    keys, queries = some_keys(COMPARED, 32, 6, seed), asked(9, 6, seed)
    births = torch.tensor([40, 12, 7, 90])
    rule = asked(1, len(FEATURES) + 1, seed)[0] * 2
    pairs = replaced(rule, queries, directions(keys), births)
    slow = slow_replaced(rule.tolist(), queries, list(keys), births.tolist())
    assert {(i, j) for i, j in pairs.nonzero().tolist()} == slow
    scores, places = asked(1, 9, seed)[0], torch.tensor([8, 0, 3, 5])
    found = lifted(scores, places, pairs)
    assert found.tolist() == pytest.approx(slow_lifted(scores.tolist(), places.tolist(), slow))


def test_the_seeds_above_tell_something() -> None:
    counts = []
    for seed in range(8):
        keys, rule = some_keys(COMPARED, 32, 6, seed), asked(1, len(FEATURES) + 1, seed)[0] * 2
        births = torch.tensor([40, 12, 7, 90])
        counts.append(int(replaced(rule, asked(9, 6, seed), directions(keys), births).sum()))
    assert 0 in counts
    assert max(counts) > 1


def test_only_an_earlier_span_is_replaced() -> None:
    always = torch.zeros(len(FEATURES) + 1)
    always[-1] = 5.0
    births = torch.tensor([3, 9, 1])
    pairs = replaced(always, asked(4, 6), directions(some_keys(3, 8, 6)), births)
    assert pairs.tolist() == [[False, True, False], [False, False, False], [True, True, False]]


def test_a_fresh_rule_replaces_nothing() -> None:
    blank = torch.zeros(len(FEATURES) + 1)
    pairs = replaced(blank, asked(4, 6), directions(some_keys(3, 8, 6)), torch.arange(3))
    assert not bool(pairs.any())


def test_what_replaces_takes_the_place_of_what_it_replaces() -> None:
    scores, places = torch.tensor([5.0, 4.0, 3.0, 1.0]), torch.tensor([0, 1, 3])
    pairs = torch.zeros(3, 3, dtype=torch.bool)
    pairs[0, 2] = True
    assert lifted(scores, places, pairs).tolist() == [-torch.inf, 4.0, 3.0, 5.0]
    assert torch.equal(lifted(scores, places, torch.zeros_like(pairs)), scores)


def test_what_replaces_by_way_of_others_takes_the_first_ones_place() -> None:
    scores, places = torch.tensor([5.0, 4.0, 3.0, 1.0]), torch.tensor([2, 0, 3, 1])
    pairs = torch.zeros(4, 4, dtype=torch.bool)
    pairs[1, 0] = pairs[0, 2] = pairs[2, 3] = True  # by places: 0, 2, 3, 1
    assert lifted(scores, places, pairs).tolist() == [-torch.inf, 5.0, -torch.inf, -torch.inf]


def test_keys_in_few_bits_and_queries_in_16_give_nearly_the_same() -> None:
    keys, queries = some_keys(4, 64, 32), asked(9, 32)
    births = torch.arange(4)
    exact = pair_features(queries, directions(keys), births)
    scale = keys.abs().amax(dim=-1, keepdim=True) / 127
    few = directions((keys / scale).round().to(torch.int8))
    rough = pair_features(queries.bfloat16(), few, births)
    assert rough.dtype == torch.float32
    # Where two rows match nearly as well, another one of them may match best.
    assert float((exact - rough).abs().median()) < 0.01
