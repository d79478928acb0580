"""What sessions and training see of HMT."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, distance, make_model, make_mplus, some_ids
from tests.systems.hmt.tiny import FAMILIES, SIZES, make_hmt, written
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.errors import MemorySizeError
from memplus.systems.hmt.mechanism import HMTMechanism
from memplus.systems.hmt.options import HMTOptions
from memplus.systems.hmt.padded import Padded

IDS = some_ids(1, 18, seed=5)
PROMPTS, PAD = some_ids(3, 5, seed=6), torch.tensor([2, 0, 3])


def test_a_segment_needs_room_for_its_slots() -> None:
    backbone = Backbone(make_model())
    sizes = SIZES | {"sensory_tokens": 32}
    HMTMechanism(backbone, HMTOptions(**sizes | {"segment_tokens": 222}))
    with pytest.raises(MemorySizeError) as caught:
        HMTMechanism(backbone, HMTOptions(**sizes | {"segment_tokens": 223}))
    assert caught.value.fields["needed"] == 257


def test_a_new_one_is_drawn_as_wide_as_the_embedding_in_float32() -> None:
    torch.manual_seed(0)
    backbone = Backbone(make_model(dtype=torch.bfloat16))
    made = HMTMechanism(backbone, HMTOptions(**SIZES | {"rank": 2}))
    own, spread = made.segments, backbone.embedding.weight.float().std().item()
    for weight in (own.initial, own.summary_prompt):
        assert weight.dtype == torch.float32
        assert 0.6 * spread < weight.std().item() < 1.5 * spread
    with torch.no_grad():
        fresh = written(made, IDS)
    assert fresh.cache.dtype == torch.bfloat16
    plain = HMTMechanism(backbone, HMTOptions(**SIZES))
    plain.take_weights({n: w for n, w in made.trained().items() if "lora" not in n})
    with torch.no_grad():
        assert written(plain, IDS).cache.equal(fresh.cache)


def test_the_paper_counts_as_many_weights() -> None:
    made = make_hmt()
    assert sum(weight.numel() for weight in made.parameters()) == 2 * 8 * 32 + 2 * 32
    assert not any(weight.requires_grad for weight in made.backbone.model.parameters())


def test_weights_of_stage_1_go_on_into_stage_2() -> None:
    first, second = make_hmt(retrieval="off", rank=2), make_hmt(rank=2)
    with torch.no_grad():
        for weight in first.parameters():
            weight.mul_(-1)
    second.take_weights(first.trained())
    assert first.trained().keys() == second.trained().keys()
    assert all(weight.requires_grad for weight in second.parameters())
    state = first.empty(1)
    with torch.no_grad():
        for piece in IDS[:, :12].split(6, dim=1):
            hidden, other = first.read(state, piece), second.read(state, piece)
            assert hidden.equal(other)
            state = first.write(state, piece)


@torch.no_grad()
def test_a_state_comes_back_from_its_tensors_and_answers_the_same() -> None:
    for family in FAMILIES:
        hmt = make_hmt(family)
        state = written(hmt, IDS)
        again = hmt.restored({name: one.clone() for name, one in state.tensors.items()})
        assert hmt.read(again, PROMPTS[:1]).equal(hmt.read(state, PROMPTS[:1]))
        assert again.bounds == state.bounds
    stage = make_hmt(retrieval="off")
    with pytest.raises(ValueError, match="cache"):
        stage.restored(written(make_hmt(), IDS).tensors)


@torch.no_grad()
def test_the_memorys_own_adapters_take_no_part() -> None:
    adapted = make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core.backbone
    options = HMTOptions(**SIZES | {"rank": 2})
    made, plain = HMTMechanism(adapted, options), HMTMechanism(Backbone(make_model()), options)
    plain.load_state_dict(made.state_dict())
    assert made.segments.lora is not None
    assert plain.segments.lora is not None
    assert len(made.segments.lora.names) == len(plain.segments.lora.names) == 28
    for one in (made, plain):
        generator = torch.Generator().manual_seed(9)
        for weight in one.segments.lora.parameters():  # type: ignore[union-attr]
            weight.copy_(torch.randn(weight.shape, generator=generator))
    assert distance(written(made, IDS).cache, written(plain, IDS).cache) < 1e-5


# What is summed up before a question --------------------------------------------------------------


def vectors(hmt: HMTMechanism, about: Tensor, pad: Tensor | None = PAD) -> Padded:
    text = Padded.of(PROMPTS, pad)
    return hmt.segments.question(written(hmt, IDS).repeated(3), text, about)


def texts(padded: Padded) -> list[list[int]]:
    pad = [0] * len(padded.ids) if padded.pad is None else padded.pad.tolist()
    return [row[count:] for row, count in zip(padded.ids.tolist(), pad, strict=True)]


@torch.no_grad()
def test_nothing_behind_the_question_is_summed_up() -> None:
    about = torch.tensor([[2, 4], [1, 5], [3, 4]])
    rows = PROMPTS.tolist()
    beginnings = [rows[0][2:4], rows[1][:3], rows[2][3:4]]
    assert texts(vectors(make_hmt(), about)) == beginnings
    questions = [rows[0][2:4], rows[1][2:5], rows[2][3:4]]
    assert texts(vectors(make_hmt(summary_of="question"), about)) == questions
    assert texts(vectors(make_hmt(), about, None)) == [rows[0][:3], rows[1][:3], rows[2][:3]]


@pytest.mark.parametrize("summary_of", ["beginning", "question"])
@torch.no_grad()
def test_where_nothing_is_asked_the_text_before_is_summed_up(summary_of: str) -> None:
    hmt = make_hmt(summary_of=summary_of)
    about = torch.tensor([[2, 2], [0, 0], [3, 4]])
    sensory, last = IDS[0, -2:].tolist(), PROMPTS[2, 3:4].tolist()
    assert texts(vectors(hmt, about)) == [sensory, sensory, last]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_is_to_be_predicted_does_not_change_what_is_retrieved(family: str) -> None:
    hmt = make_hmt(family)
    state = written(hmt, IDS).repeated(3)
    about = torch.tensor([[2, 3], [0, 2], [3, 4]])
    other = PROMPTS.clone()
    other[:, -1] += 1
    other[1, -2] += 1
    found, again = (hmt.read_about(state, ids, about, PAD) for ids in (PROMPTS, other))
    for row, known in enumerate((4, 3, 4)):
        assert found[row, PAD[row] : known].equal(again[row, PAD[row] : known])
    going = hmt.begin_about(state, PROMPTS, about, PAD)
    assert distance(going.hidden, found[:, -1]) < 1e-5
