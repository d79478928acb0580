"""The published model: Transformer-XL where nothing looks ahead, and it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memplus.systems.lamemo.layer_step import Blend
from memplus.systems.lamemo.published import PublishedLaMemo, PublishedSizes

SEGMENT = 4


def made(*, lookahead: bool = True, memory: int = 6, norm_first: bool = False) -> PublishedLaMemo:
    sizes = PublishedSizes(
        vocabulary=20, layers=3, heads=2, width=8, head_width=4, inner=12, memory=memory,
        norm_first=norm_first, blend=Blend(lookahead=lookahead),
    )  # fmt: skip
    model = PublishedLaMemo(sizes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    return model


def text(tokens: int, rows: int = 2) -> Tensor:
    return torch.randint(0, 20, (rows, tokens), generator=torch.Generator().manual_seed(1))


def read(model: PublishedLaMemo, ids: Tensor) -> Tensor:
    window, parts = model.empty(len(ids)), []
    for piece in ids.split(SEGMENT, dim=1):
        passed = model(window, piece)
        window = passed.window
        parts.append(passed.hidden)
    return torch.cat(parts, dim=1)


def transformer_xl(model: PublishedLaMemo, ids: Tensor) -> Tensor:
    """The same weights with hidden states for a memory, cut from the graph."""
    sizes = model.sizes
    memory = [torch.zeros(len(ids), 0, sizes.width) for _ in range(sizes.layers)]
    parts = []
    for piece in ids.split(SEGMENT, dim=1):
        hidden = model.embedding(piece) * sizes.width**0.5
        for index, layer in enumerate(model.layers):
            whole = torch.cat([memory[index], hidden], dim=1)
            count = memory[index].shape[1]
            memory[index] = whole.detach()[:, -sizes.memory :]
            # All rows go through each product, so that rounding is the same.
            whole = xl_layer(model, layer, whole, count)
            hidden = whole[:, count:]
        parts.append(hidden)
    return torch.cat(parts, dim=1)


def xl_layer(model: PublishedLaMemo, layer: torch.nn.Module, whole: Tensor, count: int) -> Tensor:
    """What a layer makes of [B, m + T, d]; rows before ``count`` are of no use."""
    total, heads = whole.shape[1], model.sizes.heads
    normed = layer.attention_norm(whole) if model.sizes.norm_first else whole
    query, key, value = (
        one(normed).unflatten(-1, (heads, -1)).transpose(1, 2)
        for one in (layer.query, layer.key, layer.value)
    )
    frequencies = model.get_buffer("frequencies")
    angles = torch.arange(total)[:, None] * frequencies
    known = layer.distance(torch.cat([angles.sin(), angles.cos()], dim=-1))
    known = known.unflatten(-1, (heads, -1)).permute(1, 2, 0)
    query = query[:, :, count:]
    place = torch.arange(total)
    apart = place[count:, None] - place
    content = (query + model.content[:, None]) @ key.transpose(2, 3)
    position = (query + model.left[:, None]) @ known
    position = position.gather(3, apart.clamp(min=0).expand(len(whole), heads, -1, -1))
    scale = model.sizes.head_width**-0.5
    scores = content * scale + position * scale
    scores = scores + torch.zeros(apart.shape).masked_fill(apart < 0, torch.finfo().min)
    mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
    attended = torch.cat([torch.zeros(len(whole), count, mixed.shape[2]), mixed], dim=1)
    hidden = whole + layer.out(attended)
    if model.sizes.norm_first:
        return hidden + layer.mlp(layer.mlp_norm(hidden))
    hidden = layer.attention_norm(hidden)
    return layer.mlp_norm(hidden + layer.mlp(hidden))


@pytest.mark.parametrize("memory", [2, 4, 6, 40])
@pytest.mark.parametrize("norm_first", [False, True])
@torch.no_grad()
def test_without_look_ahead_it_is_transformer_xl_bit_for_bit(memory: int, norm_first: bool) -> None:
    model = made(lookahead=False, memory=memory, norm_first=norm_first)
    ids = text(4 * SEGMENT)
    assert torch.equal(read(model, ids), transformer_xl(model, ids))


def test_without_look_ahead_its_gradients_are_transformer_xls() -> None:
    model, ids = made(lookahead=False), text(2 * SEGMENT)
    found, expected = (
        torch.autograd.grad(
            of(model, ids)[:, SEGMENT:].square().sum(), list(model.parameters()), allow_unused=True
        )
        for of in (read, transformer_xl)
    )
    for (name, _), one, other in zip(model.named_parameters(), found, expected, strict=True):
        assert (one is None) == (other is None), name
        assert one is None or torch.allclose(one, other, atol=1e-4), name


@torch.no_grad()
def test_look_ahead_changes_what_follows_and_not_the_first_segment() -> None:
    ahead, blind, ids = made(), made(lookahead=False), text(3 * SEGMENT)
    # The same weights, but for v', which one of them does not have.
    blind.load_state_dict({n: w for n, w in ahead.state_dict().items() if n != "right"})
    left, right = read(ahead, ids), read(blind, ids)
    assert torch.equal(left[:, :SEGMENT], right[:, :SEGMENT])
    assert not torch.allclose(left[:, SEGMENT:], right[:, SEGMENT:], atol=1e-2)


@torch.no_grad()
def test_a_later_token_changes_neither_what_is_before_it_nor_what_is_remembered() -> None:
    model, ids = made(), text(2 * SEGMENT)
    window = model(model.empty(2), ids[:, :SEGMENT]).window
    whole = model(window, ids[:, SEGMENT:])
    changed = ids[:, SEGMENT:].clone()
    changed[:, 2] = (changed[:, 2] + 1) % 20
    other = model(window, changed)
    assert torch.equal(other.memory, whole.memory)
    assert torch.equal(other.hidden[:, :2], whole.hidden[:, :2])
    assert not torch.equal(other.hidden[:, 2], whole.hidden[:, 2])
    first = ids[:, SEGMENT:].clone()
    first[:, 0] = (first[:, 0] + 1) % 20
    assert not torch.equal(model(window, first).memory, whole.memory)


@pytest.mark.long
def test_a_fresh_model_learns_a_text_by_heart() -> None:
    torch.manual_seed(0)
    model = PublishedLaMemo(PublishedSizes(20, layers=2, heads=2, width=16, head_width=8, inner=32))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    ids, losses = text(3 * SEGMENT + 1, rows=1), []
    for _ in range(60):
        window = model.empty(1)
        for start in range(0, 3 * SEGMENT, SEGMENT):
            passed = model(window, ids[:, start : start + SEGMENT])
            window = passed.window
            targets = ids[:, start + 1 : start + SEGMENT + 1]
            loss = model.losses(passed.hidden, targets).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[0] > 2.5
    assert losses[-1] < 0.2
