"""What LongMem is: the properties that tell whether it is right, beside a slow reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, CONFIGS, make_model, make_mplus, some_ids
from tests.systems.longmem.tiny import FAMILIES, OPTIONS, make_longmem, slow_chunks, slow_read
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from memplus.backbone.access import Backbone
from memplus.errors import ConfigError
from memplus.memory.rows import RowTable
from memplus.systems.longmem.bank import Bank
from memplus.systems.longmem.mechanism import LongMem
from memplus.systems.longmem.retrieval import mixed

EXACT = 1e-5
TEXTS = [some_ids(10, seed=1), some_ids(10, seed=2), some_ids(7, seed=3)]
ASKED = some_ids(2, 9, seed=4)


def told(mechanism: LongMem, texts: list[Tensor] = TEXTS) -> Bank:
    bank = mechanism.empty(1)
    for ids in texts:
        bank = mechanism.write(bank, ids[None])
    return bank


def distance(left: Tensor, right: Tensor) -> float:
    return (left - right).abs().max().item()


@pytest.mark.parametrize("name", FAMILIES)
def test_it_reads_what_the_slow_reference_reads(name: str) -> None:
    mechanism = make_longmem(name)
    chunks = slow_chunks(mechanism, TEXTS)
    bank = told(mechanism)
    assert len(bank) == len(chunks) == 13
    assert distance(bank.keys[:, 0].transpose(1, 2), torch.stack([k for k, _ in chunks])) < EXACT
    for memory, state in (([], mechanism.empty(1)), (chunks, bank)):
        found = mechanism.read(state, ASKED)
        for row, ids in enumerate(ASKED):
            assert distance(found[row], slow_read(mechanism, memory, ids)) < EXACT
    assert distance(mechanism.read(bank, ASKED), mechanism.read(mechanism.empty(1), ASKED)) > 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_its_gradients_are_those_of_the_slow_reference(name: str) -> None:
    mechanism = make_longmem(name)
    weights = list(mechanism.parameters())
    bank, chunks = told(mechanism), slow_chunks(mechanism, TEXTS)
    to = torch.randn(9, mechanism.backbone.hidden_size, generator=torch.Generator().manual_seed(6))
    fast = torch.autograd.grad((mechanism.read(bank, ASKED[:1])[0] * to).sum(), weights)
    slow = torch.autograd.grad((slow_read(mechanism, chunks, ASKED[0]) * to).sum(), weights)
    for one, other in zip(fast, slow, strict=True):
        assert distance(one, other) < 1e-4 * max(1.0, other.abs().max().item())


@pytest.mark.parametrize("name", CONFIGS)
def test_with_outputs_of_zero_it_is_the_plain_model(name: str) -> None:
    attention = "eager" if name.startswith("gemma2") else "sdpa"
    backbone = Backbone(make_model(name, attention=attention))
    mechanism = LongMem(backbone, replaced(init="plain"))
    with torch.no_grad():
        plain = backbone.decoder(input_ids=ASKED).last_hidden_state
        assert distance(mechanism.read(told(mechanism), ASKED), plain) < EXACT


def replaced(**changes: Any) -> Any:
    return replace(OPTIONS, **changes)


@torch.no_grad()
def test_where_the_memory_layer_stays_a_copy_the_memory_counts_from_the_first_step_on() -> None:
    mechanism = LongMem(Backbone(make_model()), replaced(init="memory"))
    bank = told(mechanism)
    assert distance(mechanism.read(bank, ASKED), mechanism.read(mechanism.empty(1), ASKED)) > 1e-3
    plain = mechanism.backbone.decoder(input_ids=ASKED).last_hidden_state
    for linear in mechanism.side.outputs(mechanism.memory_layer):
        for weight in linear.parameters():
            weight.zero_()
    assert distance(mechanism.read(bank, ASKED), plain) < EXACT


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_a_closed_gate_is_an_empty_bank(name: str) -> None:
    mechanism = make_longmem(name)
    bank, without = told(mechanism), mechanism.read(mechanism.empty(1), ASKED)
    closed = make_longmem(name, gate="closed")
    assert closed.read(bank, ASKED).equal(without)
    mechanism.gate.fill_(-torch.inf)
    assert mechanism.read(bank, ASKED).equal(without)


def key_and_value_weights(mechanism: LongMem) -> tuple[Tensor, Tensor]:
    """Of the memory layer's own attention; views of them."""
    layer: Any = mechanism.side.decoder.layers[mechanism.memory_layer]
    if not hasattr(layer, "attention"):
        return layer.self_attn.k_proj.weight, layer.self_attn.v_proj.weight
    width = layer.attention.head_size
    fused = layer.attention.query_key_value.weight.unflatten(0, (-1, 3 * width))
    return fused[:, width : 2 * width], fused[:, 2 * width :]


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_an_open_gate_does_not_look_at_the_segment(name: str) -> None:
    mechanism = make_longmem(name)
    bank = told(mechanism)
    keys, values = key_and_value_weights(mechanism)

    def reads() -> Tensor:
        return mechanism.read(bank, ASKED)

    mechanism.gate.fill_(torch.inf)
    before = reads()
    keys.mul_(3)
    assert reads().equal(before)
    values.mul_(-1)
    assert reads().equal(before)
    mechanism.gate.zero_()
    assert not reads().equal(before)


def banked_tokens(mechanism: LongMem) -> tuple[Tensor, Tensor]:
    """Keys and values [n, H, D] of all that ``TEXTS`` banks, computed slowly."""
    times = mechanism.side.query_heads // mechanism.backbone.kv_heads
    keys, values = zip(*slow_chunks(mechanism, TEXTS))
    return tuple(torch.cat(one).repeat_interleave(times, dim=1) for one in (keys, values))


def read_by(mechanism: LongMem, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """What it reads behind ``TEXTS`` where the memory layer's queries [B, T, H, D] attend so."""

    def change(bank: Bank, account: Any = None) -> Any:
        return lambda query, local: mixed(local, attend(query), mechanism.gates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mechanism, "_change", change)
        return mechanism.read(told(mechanism), ASKED)


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_to_find_the_whole_bank_is_full_attention_over_it(name: str) -> None:
    mechanism = make_longmem(name, retrieved_tokens=26)
    keys, values = (one.transpose(0, 1)[None] for one in banked_tokens(mechanism))

    def full(query: Tensor) -> Tensor:
        given = (query.transpose(1, 2), keys.expand(2, -1, -1, -1), values.expand(2, -1, -1, -1))
        return scaled_dot_product_attention(*given).transpose(1, 2)

    wanted = read_by(mechanism, full)
    for tokens in (26, 40):
        found = make_longmem(name, retrieved_tokens=tokens)
        assert distance(found.read(told(found), ASKED), wanted) < EXACT
    fewer = make_longmem(name, retrieved_tokens=24)
    assert distance(fewer.read(told(fewer), ASKED), wanted) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_chunks_of_one_token_are_the_nearest_tokens(name: str) -> None:
    mechanism = make_longmem(name, chunk_tokens=1, retrieved_tokens=3)
    keys, values = banked_tokens(mechanism)
    assert len(keys) == sum(map(len, TEXTS))

    def nearest(query: Tensor) -> Tensor:
        scores = torch.einsum("bthd,nhd->bthn", query, keys)
        least = scores.sort(dim=-1, descending=True).values[..., 2:3]
        near = (scores * query.shape[-1] ** -0.5).masked_fill(scores < least, -torch.inf)
        return torch.einsum("bthn,nhd->bthd", near.softmax(dim=-1), values)

    wanted = read_by(mechanism, nearest)
    assert distance(mechanism.read(told(mechanism), ASKED), wanted) < EXACT
    pairs = make_longmem(name, chunk_tokens=2, retrieved_tokens=4)
    assert distance(pairs.read(told(pairs), ASKED), wanted) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_the_order_of_chunks_changes_nothing(name: str) -> None:
    mechanism = make_longmem(name)
    bank = told(mechanism)
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(7))
    columns = ("keys", "values", "means", "starts")
    other = replace(bank, table=RowTable({one: bank.table[one][order] for one in columns}))
    assert distance(mechanism.read(other, ASKED), mechanism.read(bank, ASKED)) < EXACT


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_a_segment_is_not_in_the_bank_while_it_is_read(name: str) -> None:
    mechanism = make_longmem(name)
    bank = told(mechanism)
    hidden, after = mechanism.read_and_write(bank, TEXTS[0][None])
    assert hidden.equal(mechanism.read(bank, TEXTS[0][None]))
    assert len(bank) == 13
    written = mechanism.write(bank, TEXTS[0][None])
    assert all(written.tensors[one].equal(tensor) for one, tensor in after.tensors.items())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_write_runs_the_layers_below_the_banked_one_alone(name: str) -> None:
    mechanism = make_longmem(name)
    ran: list[int] = []
    for layer in mechanism.backbone.layers:
        layer.module.register_forward_hook(lambda m, a, out, at=layer.index: ran.append(at))
    mechanism.write(mechanism.empty(1), TEXTS[0][None])
    assert ran == list(range(mechanism.banked_layer))


@pytest.mark.parametrize("name", FAMILIES)
def test_training_moves_neither_the_decoder_nor_what_is_banked(name: str) -> None:
    mechanism = make_longmem(name)
    decoder = mechanism.backbone.model
    before = {name: one.clone() for name, one in decoder.state_dict().items()}
    bank = told(mechanism)
    kept = {name: one.clone() for name, one in bank.tensors.items()}
    optimizer = torch.optim.SGD(mechanism.parameters(), lr=0.1)
    for ids in TEXTS[:2]:
        hidden, bank_after = mechanism.read_and_write(bank, ids[None])
        hidden.square().mean().backward()
        assert mechanism.gate.grad is not None
        assert bool((mechanism.gate.grad != 0).all())
        optimizer.step()
        assert not any(one.requires_grad for one in bank_after.tensors.values())
    assert all(one.grad is None for one in decoder.parameters())
    assert all(decoder.state_dict()[name].equal(one) for name, one in before.items())
    assert all(bank.tensors[name].equal(one) for name, one in kept.items())
    assert all(told(mechanism).tensors[name].equal(one) for name, one in kept.items())


def test_the_gate_moves_as_many_times_faster_as_it_says() -> None:
    moved = []
    for rate in (1.0, 50.0):
        mechanism = LongMem(Backbone(make_model()), replaced(gate_rate=rate))
        optimizer = torch.optim.AdamW(mechanism.parameters(), lr=1e-3, weight_decay=0.0)
        mechanism.read(told(mechanism), ASKED).square().mean().backward()
        optimizer.step()
        moved.append(mechanism.gates.detach().abs())
    assert torch.allclose(moved[1], 50 * moved[0], rtol=1e-3)
    assert torch.allclose(moved[0], torch.full_like(moved[0], 1e-3), rtol=1e-2)


def test_the_gate_learns_nothing_while_nothing_is_banked() -> None:
    mechanism = make_longmem()
    mechanism.read(mechanism.empty(1), ASKED).square().mean().backward()
    assert mechanism.gate.grad is None


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_of_a_batch_do_not_read_each_other(name: str) -> None:
    mechanism = make_longmem(name)
    both = torch.stack([TEXTS[0], TEXTS[1]])
    bank = mechanism.write(mechanism.empty(2), both)
    hidden, after = mechanism.read_and_write(bank, both.flip(0))
    for row in range(2):
        alone = mechanism.write(mechanism.empty(1), both[row : row + 1])
        own, own_after = mechanism.read_and_write(alone, both.flip(0)[row : row + 1])
        assert distance(own, hidden[row : row + 1]) < EXACT
        assert distance(after.keys[:, row : row + 1], own_after.keys) < EXACT


@torch.no_grad()
def test_one_past_goes_on_in_several_ways() -> None:
    mechanism = make_longmem()
    past = told(mechanism, TEXTS[:1])
    both = mechanism.write(past.repeated(2), torch.stack(TEXTS[:2]))
    for row in range(2):
        alone = mechanism.write(past, TEXTS[row][None])
        assert distance(both.keys[:, row : row + 1], alone.keys) < EXACT
    assert len(past) == 5


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_padding_at_the_left_changes_nothing(name: str) -> None:
    mechanism = make_longmem(name)
    bank = told(mechanism)
    pad = torch.tensor([0, 3])
    padded = ASKED.clone()
    padded[1] = torch.cat([torch.full((3,), 256), ASKED[1, :6]])
    found = mechanism.read(bank, padded, pad)
    assert distance(found[0], mechanism.read(bank, ASKED[:1])[0]) < EXACT
    assert distance(found[1, 3:], mechanism.read(bank, ASKED[1:, :6])[0]) < EXACT


@torch.no_grad()
@pytest.mark.parametrize("name", [*FAMILIES, "mistral-window", "smollm3"])
@pytest.mark.parametrize("padded", [False, True])
def test_token_by_token_is_what_a_whole_read_gives(name: str, padded: bool) -> None:
    mechanism = make_longmem(name)
    bank = told(mechanism)
    more = some_ids(2, 4, seed=8)
    pad = torch.tensor([3, 0]) if padded else None
    decoding = mechanism.begin(bank, ASKED, pad)
    whole = mechanism.read(bank, torch.cat([ASKED, more], dim=1), pad)
    assert distance(decoding.hidden, whole[:, 8]) < EXACT
    for place in range(4):
        decoding.step(more[:, place])
        assert distance(decoding.hidden, whole[:, 9 + place]) < EXACT


@torch.no_grad()
def test_shares_say_which_chunks_were_read_and_add_up() -> None:
    mechanism = make_longmem()
    bank = told(mechanism)
    decoding = mechanism.begin(bank, ASKED)
    decoding.step(torch.tensor([5, 6]))
    starts = set(bank.starts.tolist())
    for row in decoding.shares:
        assert sum(one.share for one in row) == pytest.approx(1)
        assert all(one.start in starts and one.end == one.start + 2 for one in row)
        assert [one.share for one in row] == sorted((one.share for one in row), reverse=True)
    assert [list(row) for row in mechanism.begin(mechanism.empty(1), ASKED).shares] == [[], []]


@torch.no_grad()
def test_adapters_of_another_memory_take_no_part() -> None:
    adapted = make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core.backbone
    plain = LongMem(Backbone(make_model()), OPTIONS)
    mechanism = LongMem(adapted, OPTIONS)
    assert mechanism.trained().keys() == plain.trained().keys()
    assert mechanism.read(told(mechanism), ASKED).equal(plain.read(told(plain), ASKED))


def test_what_it_does_not_fit_is_refused_by_name() -> None:
    for changes, named in (
        ({"reduction": 3}, "reduction"),
        ({"memory_layer": 4}, "memory_layer"),
    ):
        with pytest.raises(ConfigError, match=named):
            LongMem(Backbone(make_model()), replaced(**changes))


def test_the_side_network_may_be_wider_than_the_decoder_while_it_learns() -> None:
    half = LongMem(Backbone(make_model(dtype=torch.bfloat16)), OPTIONS)
    with torch.no_grad():
        before = half.read(told(half), ASKED)
    half.float()
    found = half.read(told(half), ASKED)
    assert found.dtype == torch.bfloat16
    near = torch.nn.functional.cosine_similarity(found.float(), before.float(), dim=-1)
    assert near.mean().item() > 0.99
    found.float().square().mean().backward()
    assert all(one.grad is not None for one in half.parameters())
    assert {one.grad.dtype for one in half.parameters() if one.grad is not None} == {torch.float32}


def test_half_precision_stays_near() -> None:
    wide = LongMem(Backbone(make_model()), OPTIONS)
    half = LongMem(Backbone(make_model(dtype=torch.bfloat16)), OPTIONS)
    with torch.no_grad():
        found = half.read(told(half), ASKED)
        assert found.dtype == torch.bfloat16
        near = torch.nn.functional.cosine_similarity(
            found.float(), wide.read(told(wide), ASKED), dim=-1
        )
    assert near.mean().item() > 0.98
