"""Slots of a pass: which there are, which are seen, and where they stand."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import distance, make_model, some_ids
from tests.systems.hmt.tiny import FAMILIES
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.systems.hmt.padded import Padded
from memplus.systems.hmt.passes import Slots, next_token, run

IDS, SENSORY = some_ids(2, 5, seed=1), some_ids(2, 2, seed=2)
PAD = torch.tensor([3, 0])
VECTOR = torch.randn(2, 32, generator=torch.Generator().manual_seed(4))


@pytest.fixture(params=FAMILIES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return Backbone(make_model(request.param))


def test_a_pass_reads_vector_sensory_tokens_text_vector(backbone: Backbone) -> None:
    slots = Slots(VECTOR, Padded(IDS), sensory=SENSORY)
    embedded, tokens = slots.embedded(backbone), backbone.embedding
    assert slots.ahead == 3
    assert embedded[:, 0].equal(VECTOR)
    assert embedded[:, 1:3].equal(tokens(SENSORY))
    assert embedded[:, 3:8].equal(tokens(IDS))
    assert embedded[:, 8].equal(VECTOR)
    short = Slots(VECTOR, Padded(IDS), trailing=False)
    assert short.ahead == 1
    assert short.embedded(backbone).equal(torch.cat([VECTOR[:, None], tokens(IDS)], dim=1))


def test_only_padding_is_hidden() -> None:
    slots = Slots(VECTOR, Padded.of(IDS, PAD), sensory=SENSORY)
    assert slots.visible is not None
    assert slots.visible[0].tolist() == [True] * 3 + [False] * 3 + [True] * 3
    assert bool(slots.visible[1].all())
    assert Slots(VECTOR, Padded(IDS)).visible is None


def hidden(backbone: Backbone, slots: Slots, *, counts_padding: bool = False) -> Tensor:
    found: Tensor = run(backbone, slots, counts_padding=counts_padding).last_hidden_state
    return found


@torch.no_grad()
def test_a_padded_row_is_read_as_it_is_alone(backbone: Backbone) -> None:
    together = hidden(backbone, Slots(VECTOR, Padded.of(IDS, PAD), sensory=SENSORY))
    alone = hidden(backbone, Slots(VECTOR[:1], Padded(IDS[:1, 3:]), sensory=SENSORY[:1]))
    assert distance(together[0, 6:], alone[0, 3:]) < 1e-5
    assert distance(together[0, :3], alone[0, :3]) < 1e-5
    other = IDS.clone()
    other[0, :3] += 1
    again = hidden(backbone, Slots(VECTOR, Padded.of(other, PAD), sensory=SENSORY))
    assert again[0, 6:].equal(together[0, 6:])


@torch.no_grad()
def test_the_published_code_counts_padding_as_positions(backbone: Backbone) -> None:
    slots = Slots(VECTOR, Padded.of(IDS, PAD), sensory=SENSORY)
    published = hidden(backbone, slots, counts_padding=True)
    assert slots.visible is not None
    theirs = backbone.decoder(
        inputs_embeds=slots.embedded(backbone), attention_mask=slots.visible.long()
    ).last_hidden_state
    assert published[:, 6:].equal(theirs[:, 6:])
    ours = hidden(backbone, slots)
    assert distance(published[0, 6:], ours[0, 6:]) > 1e-3
    assert distance(published[1], ours[1]) < 1e-5


@pytest.mark.parametrize("counts", [False, True])
@torch.no_grad()
def test_a_token_more_is_as_if_it_had_been_read_at_once(backbone: Backbone, counts: bool) -> None:
    for pad in (None, PAD):
        whole = Padded.of(IDS, pad)
        slots = Slots(VECTOR, whole.columns(4), sensory=SENSORY, trailing=False)
        output = run(backbone, slots, counts_padding=counts, use_cache=True)
        full = Slots(VECTOR, whole, sensory=SENSORY, trailing=False)
        past = output.past_key_values
        found = next_token(backbone, IDS[:, 4], full.visible, past, counts_padding=counts)
        expected = hidden(backbone, full, counts_padding=counts)[:, -1]
        assert distance(found, expected) < 1e-5
