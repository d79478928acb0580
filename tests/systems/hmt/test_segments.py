"""The steps of a segment: against the slow reference, and what has to hold of them."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import distance, some_ids
from tests.systems.hmt.tiny import FAMILIES, make_hmt, pieces, reference_of, written
from torch import Tensor

from memplus.systems.hmt.mechanism import HMTMechanism
from memplus.systems.hmt.padded import Padded
from memplus.systems.hmt.state import HMTState

IDS = some_ids(2, 26, seed=3)
"""Four segments and a short one."""
STAGES = ("on", "off")


@pytest.fixture(params=FAMILIES)
def hmt(request: pytest.FixtureRequest) -> HMTMechanism:
    return make_hmt(request.param)


def retrieved(hmt: HMTMechanism, state: HMTState, ids: Tensor) -> Tensor:
    """P_n [B, d] of a segment."""
    text = Padded(ids)
    return hmt.segments.retrieved(state, hmt.segments.beginning(text))[0]


def last_loss(hidden: Tensor) -> Tensor:
    """Any number that the last segment's outputs decide."""
    return hidden.square().mean()


# Against the reference ----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_segments_are_read_and_written_as_by_the_reference(family: str, stage: str) -> None:
    hmt = make_hmt(family, retrieval=stage, summary_fraction=0.7)
    slow = [reference_of(hmt) for _ in IDS]
    state = hmt.empty(2)
    for piece in pieces(hmt, IDS):
        read, (hidden, state) = hmt.read(state, piece), hmt.read_and_write(state, piece)
        for row, one in enumerate(slow):
            ids = piece[row].tolist()
            assert distance(read[row], one.read(ids)) < 2e-5
            assert distance(hidden[row], one.write(ids)) < 2e-5
            assert distance(state.cache[row], torch.stack(one.cache[-hmt.options.kept :])) < 2e-5
            assert state.sensory[row].tolist() == one.sensory
    assert state.cache.shape[1] == hmt.options.kept
    assert state.bounds[-1] == 26


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_are_the_references(hmt: HMTMechanism, stage: str) -> None:
    hmt = make_hmt(hmt.backbone.config.model_type, retrieval=stage)
    own = dict(hmt.named_parameters())
    learned = {name: weight for name, weight in own.items() if weight.requires_grad}
    state = hmt.empty(1)
    slow = reference_of(hmt)
    for piece in pieces(hmt, IDS[:1]):
        hidden, state = hmt.read_and_write(state, piece)
        expected = slow.write(piece[0].tolist())
    ours = torch.autograd.grad(last_loss(hidden[0]), [*learned.values()])
    theirs = torch.autograd.grad(last_loss(expected), [*learned.values()])
    assert len(learned) == (4 if stage == "on" else 1)
    for name, one, other in zip(learned, ours, theirs, strict=True):
        size = max(1.0, other.abs().max().item())
        assert bool(other.any()), name
        assert distance(one, other) < 1e-4 * size, name


# What has to hold ---------------------------------------------------------------------------------


@torch.no_grad()
def test_a_first_segment_is_the_plain_decoder_behind_m0(hmt: HMTMechanism) -> None:
    ids, decoder = IDS[:1, :6], hmt.backbone.decoder
    embeds = torch.cat([hmt.segments.initial[None, None], hmt.backbone.embedding(ids)], dim=1)
    plain = decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, 1:]
    assert hmt.read(hmt.empty(1), ids).equal(plain)
    assert hmt.begin(hmt.empty(1), ids).hidden.equal(
        decoder(inputs_embeds=embeds, use_cache=True).last_hidden_state[:, -1]
    )


@torch.no_grad()
def test_a_text_of_one_segment_needs_no_retrieval(hmt: HMTMechanism) -> None:
    ids = IDS[:, :6]
    before = hmt.read(hmt.empty(2), ids)
    for weight in (hmt.segments.summary_prompt, *hmt.segments.retrieval.parameters()):
        weight.fill_(torch.nan)
    hidden, state = hmt.read_and_write(hmt.empty(2), ids)
    assert hmt.read(hmt.empty(2), ids).equal(before)
    assert bool(hidden.isfinite().all())
    assert bool(state.cache.isfinite().all())
    assert hmt.begin(hmt.empty(2), ids).shares == [[], []]


@torch.no_grad()
def test_the_slot_behind_a_segment_changes_nothing_before_it(hmt: HMTMechanism) -> None:
    state = written(hmt, IDS[:, :18])
    hidden, _ = hmt.read_and_write(state, IDS[:, 18:24])
    assert distance(hidden, hmt.read(state, IDS[:, 18:24])) < 1e-5


@torch.no_grad()
def test_a_cache_of_one_vector_gives_that_vector(hmt: HMTMechanism) -> None:
    state = written(hmt, IDS[:, :6])
    for _ in range(2):
        assert retrieved(hmt, state, IDS[:, 6:12]).equal(state.cache[:, 0])
        for weight in hmt.segments.retrieval.parameters():
            weight.mul_(-3)


@torch.no_grad()
def test_without_a_query_the_mean_of_the_cache_is_read(hmt: HMTMechanism) -> None:
    hmt.segments.retrieval.query.zero_()
    state = written(hmt, IDS[:, :18])
    found = retrieved(hmt, state, IDS[:, 18:24])
    assert distance(found, state.cache.mean(dim=1)) < 1e-6


@torch.no_grad()
def test_the_order_of_cached_vectors_does_not_matter(hmt: HMTMechanism) -> None:
    state = written(hmt, IDS[:, :18])
    other = HMTState(state.cache[:, [2, 0, 1]], state.sensory, state.bounds)
    ids = IDS[:, 18:24]
    assert distance(retrieved(hmt, state, ids), state.cache.mean(dim=1)) > 1e-3
    assert distance(hmt.read(state, ids), hmt.read(other, ids)) < 1e-5


@torch.no_grad()
def test_one_vector_too_many_pushes_out_the_first(hmt: HMTMechanism) -> None:
    full = written(hmt, IDS[:, :18])
    more = hmt.write(full, IDS[:, 18:24])
    assert full.cache.shape[1] == more.cache.shape[1] == hmt.options.cache
    assert more.cache[:, :-1].equal(full.cache[:, 1:])
    assert (full.bounds, more.bounds) == ((0, 6, 12, 18), (6, 12, 18, 24))


@torch.no_grad()
def test_nothing_leaks_from_segment_to_segment_but_vectors_and_sensory_tokens() -> None:
    for family in FAMILIES:
        hmt = make_hmt(family, sensory_tokens=0)
        state = hmt.empty(2)
        for piece in pieces(hmt, IDS):
            hidden, state = hmt.read_and_write(state, piece)
            assert distance(hidden, hmt.read(hmt.empty(2), piece)) < 1e-5
            assert state.sensory.shape == (2, 0)
            state = HMTState(state.cache[:, :0], state.sensory, state.bounds[-1:])


def test_gradients_reach_m0_through_the_cache_unless_the_state_is_detached(
    hmt: HMTMechanism,
) -> None:
    first, second, third = IDS[:, :6], IDS[:, 6:12], IDS[:, 12:18]
    initial = hmt.segments.initial
    for depth in (3, 1):
        state = hmt.write(hmt.write(hmt.empty(2), first), second)
        state = state if depth == 3 else state.detached()
        hidden, _ = hmt.read_and_write(state, third)
        (found,) = torch.autograd.grad(last_loss(hidden), initial, allow_unused=True)
        assert (found is not None and bool(found.any())) == (depth == 3)


@torch.no_grad()
def test_reading_changes_no_state_and_gives_the_same_bits_again(hmt: HMTMechanism) -> None:
    state = written(hmt, IDS[:, :18])
    before = {name: one.clone() for name, one in state.tensors.items()}
    found = hmt.read(state, IDS[:, 18:24])
    going = hmt.begin(state, IDS[:, 18:24])
    going.step(IDS[:, 24])
    hmt.write(state, IDS[:, 18:24])
    assert hmt.read(state, IDS[:, 18:24]).equal(found)
    assert all(one.equal(before[name]) for name, one in state.tensors.items())
    again = hmt.begin(state, IDS[:, 18:24])
    again.step(IDS[:, 24])
    assert again.hidden.equal(going.hidden)


# Stage 1 ------------------------------------------------------------------------------------------


def test_without_retrieval_only_the_newest_vector_is_kept_and_read(hmt: HMTMechanism) -> None:
    hmt = make_hmt(hmt.backbone.config.model_type, retrieval="off")
    state = written(hmt, IDS[:, :18])
    assert state.cache.shape[1] == 1
    assert retrieved(hmt, state, IDS[:, 18:24]).equal(state.cache[:, 0])
    learned = [name for name, weight in hmt.named_parameters() if weight.requires_grad]
    assert learned == ["segments.initial"]


# The update ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pass_runs_under_the_update_of_all_linear_layers(family: str) -> None:
    hmt = make_hmt(family, rank=2, alpha=4)
    lora = hmt.segments.lora
    assert lora is not None
    linears = 4 * (4 if family == "gpt_neox" else 7)
    assert len(lora.names) == linears
    plain, ids = make_hmt(family), IDS[:, :6]
    plain.segments.load_state_dict(hmt.segments.state_dict(), strict=False)
    state = written(hmt, IDS[:, :12])
    assert distance(hmt.read(state, ids), plain.read(state, ids)) > 1e-3
    text = Padded(ids)
    with hmt.segments.active():
        adapted = hmt.segments.summary(text)
    assert distance(adapted, plain.segments.summary(text)) > 1e-3
    loss = last_loss(hmt.read_and_write(state, ids)[0])
    gradients = torch.autograd.grad(loss, [*lora.parameters()])
    assert all(bool(one.any()) for one in gradients)


# The summary --------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_summary_is_of_the_first_part_of_a_whole_segment(hmt: HMTMechanism) -> None:
    half, segments = IDS[:, :3], hmt.segments
    assert hmt.options.summary_tokens == 3
    assert segments.beginning(Padded(IDS[:, :6])).ids.equal(half)
    assert segments.beginning(Padded(IDS[:, :2])).ids.equal(IDS[:, :2])
    state = written(hmt, IDS[:, :18])
    other = IDS[:, 18:24].clone()
    other[:, 3:] += 1
    assert retrieved(hmt, state, IDS[:, 18:24]).equal(retrieved(hmt, state, other))
