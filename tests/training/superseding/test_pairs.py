"""Pairs of spans that a question finds: which of them count, and for what."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import some_ids
from tests.training.superseding.spans import TEXT, spans_model

from memplus import MPlus
from memplus.data.stream import Texts, Told
from memplus.memory.superseding import FEATURES
from memplus.passes.span_choice import SpansBefore
from memplus.systems.shared import Shared
from memplus.training.superseding.pairs import (
    Pairs,
    collect_alone,
    collect_pairs,
    label_pairs,
    span_tokens,
)
from memplus.training.superseding.told import Asked, Item

ITEMS = [
    Item(
        "My sister lives in Oslo.", "Where does my sister live?", ("Bergen",), "She is in Bergen."
    ),
    Item("The spare key hangs behind the clock.", "Where is the key?", ("behind the clock",)),
]


@pytest.fixture(scope="module")
def model() -> MPlus:
    return spans_model()


def numbered(spans: int) -> torch.Tensor:
    """[C, C, F], so that a pair's features say which it is."""
    earlier, later = torch.arange(spans)[:, None], torch.arange(spans)[None]
    return (10 * earlier + later)[..., None].expand(spans, spans, len(FEATURES)).double()


def pairs_of(asked: Asked, places: list[tuple[int, int]], births: list[int]) -> dict[int, bool]:
    found = label_pairs(asked, numbered(len(places)), places, births)
    numbers = found.features[:, 0].int().tolist()
    assert found.questions == ("Which?",) * len(numbers)
    return dict(zip(numbers, found.replaced.tolist(), strict=True))


def test_an_outdated_span_is_replaced_by_the_one_that_holds_what_is_right() -> None:
    asked = Asked("Which?", Told("t", 100, 140, 110, 112), Told("t", 20, 50))
    places = [(96, 128), (32, 64), (300, 332), (0, 32)]
    births = [128, 64, 332, 32]
    # Both spans of what is outdated go for span 0; nothing may take that one's place.
    assert pairs_of(asked, places, births) == {10: True, 30: True, 2: False}
    # By what comes after it: a span that was made before is none of its rivals.
    assert pairs_of(asked, places, [400, *births[1:]]) == {10: True, 30: True}


def test_what_is_right_must_be_read_where_it_was_never_corrected() -> None:
    asked = Asked("Which?", Told("t", 100, 140, 110, 112), None)
    assert pairs_of(asked, [(96, 128), (128, 160), (0, 32)], [128, 160, 32]) == {1: False}
    # The value on both sides of a border: both parts are needed.
    across = Asked("Which?", Told("t", 100, 140, 126, 130), None)
    assert pairs_of(across, [(96, 128), (128, 160)], [128, 160]) == {1: False}
    assert pairs_of(asked, [(128, 160), (0, 32)], [160, 32]) == {}


def test_parts_of_one_text_never_replace_each_other() -> None:
    asked = Asked("Which?", Told("t", 100, 240, 210, 212), Told("t", 20, 50))
    places = [(96, 128), (128, 160), (192, 224), (0, 32)]
    births = [128, 160, 224, 32]
    assert pairs_of(asked, places, births) == {1: False, 2: False, 12: False, 32: True}


def test_texts_told_alone_are_found_by_all_their_spans(model: MPlus) -> None:
    texts = Texts.of([TEXT], Shared(lambda: model).reference)
    long = Item(f"{TEXT[:3000]} The key hangs there.", "Where is the key?", ("hangs there",))
    found = collect_alone(model, texts, [long, ITEMS[1]], 1)
    assert set(found.questions) == {long.question}  # the other one is a single span
    assert len(found) >= 3
    assert not bool(found.replaced.any())
    again = collect_alone(model, texts, [long], 1)
    assert torch.equal(found.features, again.features)


def test_pairs_can_be_joined_and_chosen() -> None:
    asked = Asked("Which?", Told("t", 100, 140, 110, 112), Told("t", 20, 50))
    one = label_pairs(asked, numbered(2), [(96, 128), (32, 64)], [128, 64])
    both = Pairs.joined([one, Pairs.joined([]), one])
    assert (len(one), len(both), len(Pairs.joined([]))) == (1, 2, 0)
    assert len(both.of(torch.tensor([False, True]))) == 1


def test_questions_are_asked_after_every_distance_of_what_the_memory_holds(model: MPlus) -> None:
    texts = Texts.of([TEXT], Shared(lambda: model).reference)
    found = collect_pairs(model, texts, ITEMS, 1, (0, 300))
    again = collect_pairs(model, texts, ITEMS, 1, (0, 300))
    assert len(found) > 2
    assert set(found.questions) <= {one.question for one in ITEMS}
    assert torch.equal(found.features, again.features)
    assert torch.equal(found.replaced, again.replaced)
    assert bool(found.features.isfinite().all())
    once = collect_pairs(model, texts, ITEMS, 1, (0,))
    assert torch.equal(found.features[: len(once)], once.features)
    assert len(once) < len(found)


def test_a_span_is_of_the_tokens_before_its_birth(model: MPlus) -> None:
    memory = model.new_memory(seed=4)
    model.write(memory, some_ids(1100).tolist(), source="told")
    assert memory.long_term is not None
    before, seen = SpansBefore(memory, memory.long_term), set()
    stored = memory.long_term_rows // 128
    for seed in range(8):
        queries = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed))
        (matches,) = memory.long_term.span_matches([queries])
        some = before.compared(before.matches(queries, matches).mean(dim=0))
        births = some.births.tolist()
        found = span_tokens(memory, before, some, stored)
        assert found == [(birth - 128, birth) for birth in births]  # a row for each token
        seen |= {at >= stored for at in some.places.tolist()}
    assert seen == {True, False}
