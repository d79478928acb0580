"""Prefix and text, part by part or all at once: the same numbers as one plain softmax."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import make_model
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memplus.backbone import attention
from memplus.backbone.attention import (
    AttentionCall,
    Segment,
    attend_concatenated,
    attend_masked,
    attend_merged,
    implementation_for,
)

HEADS, GROUPS, WIDTH, TEXT = 4, 2, 8, 7


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def a_call(attention: str = "sdpa", *, batch: int = 2, queries: int = TEXT) -> AttentionCall:
    """A causal call of a real attention module whose config names ours."""
    model: Any = make_model(attention=attention)
    module = model.get_decoder().layers[1].self_attn
    module.config._attn_implementation = implementation_for(attention, attention)
    mask = torch.ones(queries, TEXT, dtype=torch.bool).tril(TEXT - queries)[None, None]
    mask = mask.expand(batch, -1, -1, -1)
    if attention == "eager":
        low = torch.finfo(torch.float32).min
        mask = torch.zeros(mask.shape).masked_fill(~mask, low)
    return AttentionCall(
        module,
        drawn(batch, HEADS, queries, WIDTH, seed=1),
        drawn(batch, GROUPS, TEXT, WIDTH, seed=2),
        drawn(batch, GROUPS, TEXT, WIDTH, seed=3),
        mask,
        {"scaling": WIDTH**-0.5, "dropout": 0.0},
    )


def some_segments(batch: int, *rows: int) -> list[Segment]:
    return [
        Segment(
            drawn(batch, GROUPS, count, WIDTH, seed=10 + i),
            drawn(batch, GROUPS, count, WIDTH, seed=20 + i),
        )
        for i, count in enumerate(rows)
    ]


def plain(call: AttentionCall, segments: list[Segment], there: Tensor | None = None) -> Tensor:
    """One softmax over everything, in float64: [B, T, H, D]."""
    batch = call.query.shape[0]
    keys = torch.cat([*(s.key.expand(batch, -1, -1, -1) for s in segments), call.key], dim=2)
    values = torch.cat([*(s.value.expand(batch, -1, -1, -1) for s in segments), call.value], dim=2)
    times = HEADS // GROUPS
    keys, values = (t.double().repeat_interleave(times, dim=1) for t in (keys, values))
    scores = call.query.double() @ keys.transpose(2, 3) * call.scale
    rows = keys.shape[2] - TEXT
    start = 0
    for segment in segments:
        stop = start + segment.key.shape[2]
        if segment.bias is not None:
            scores[..., start:stop] += segment.bias[:, None, None].double()
        start = stop
    assert call.mask is not None
    seen = call.mask if call.mask.dtype == torch.bool else call.mask == 0
    prefix = torch.ones(batch, 1, seen.shape[2], rows, dtype=torch.bool)
    if there is not None:
        prefix = there[:, None, None, :].expand(prefix.shape)
    scores = scores.masked_fill(~torch.cat([prefix, seen], dim=3), -torch.inf)
    return (scores.softmax(dim=3) @ values).transpose(1, 2).float()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("rows", [(), (5,), (1, 6)], ids=["none", "one", "two"])
@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_concatenated(attention: str, rows: tuple[int, ...], shared: bool) -> None:
    call = a_call(attention)
    segments = some_segments(1 if shared else 2, *rows)
    close(attend_concatenated(call, segments)[0], plain(call, segments))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_rows_count_for_less_by_what_is_added_to_their_scores(attention: str, shared: bool) -> None:
    call = a_call(attention)
    first, second = some_segments(1 if shared else 2, 2, 6)
    weighed = [first, second._replace(bias=-2 * drawn(2, 6, seed=3).abs())]
    close(attend_concatenated(call, weighed)[0], plain(call, weighed))
    if attention == "sdpa":
        close(attend_merged(call, weighed), plain(call, weighed))
    assert not torch.allclose(plain(call, weighed), plain(call, [first, second]), atol=1e-3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_rows_that_are_not_there_get_no_attention(attention: str) -> None:
    call, segments = a_call(attention), some_segments(2, 6)
    there = torch.tensor([[True] * 6, [False, True, True, False, False, True]])
    close(attend_concatenated(call, segments, there)[0], plain(call, segments, there))


@pytest.mark.parametrize("queries", [1, 3, TEXT])
@pytest.mark.parametrize("rows", [(5,), (1, 6)], ids=["one", "two"])
@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_merged(queries: int, rows: tuple[int, ...], shared: bool) -> None:
    call = a_call(queries=queries)
    segments = some_segments(1 if shared else 2, *rows)
    assert call.mergeable
    close(attend_merged(call, segments), plain(call, segments))


@torch.no_grad()
def test_merged_causally_without_a_look_at_the_mask() -> None:
    call, segments = a_call(), some_segments(2, 1, 6)
    close(attend_merged(call, segments, causal=True), plain(call, segments))


def test_what_cannot_be_merged_is_said() -> None:
    call = a_call()
    assert not call.mergeable  # a graph is wanted
    with torch.no_grad():
        assert call.mergeable
        assert not a_call("eager").mergeable
        capped = AttentionCall(
            call.module, call.query, call.key, call.value, call.mask, {"softcap": 5.0}
        )
        assert not capped.mergeable


def test_the_scale_is_the_calls_or_that_of_its_width() -> None:
    call = a_call()
    assert call.scale == WIDTH**-0.5
    named = AttentionCall(call.module, call.query, call.key, call.value, None, {"scaling": 0.5})
    assert named.scale == 0.5
    unnamed = AttentionCall(call.module, call.query, call.key, call.value, None, {})
    assert unnamed.scale == WIDTH**-0.5


@pytest.mark.parametrize("stock", ["sdpa", "eager"])
@pytest.mark.parametrize("ours", ["sdpa", "eager"])
@torch.no_grad()
def test_who_runs_no_session_gets_the_stock_function_and_mask(ours: str, stock: str) -> None:
    """Also where a session stands on another one, as with a family whose scores are capped."""
    name = implementation_for(ours, stock)
    assert implementation_for(ours, stock) == name
    model: Any = make_model(attention=stock)
    ids = torch.arange(12)[None]
    expected = [model(ids).logits, model.generate(ids, max_new_tokens=3, do_sample=False)]
    model.config._attn_implementation = name
    assert name in ALL_ATTENTION_FUNCTIONS.valid_keys()
    assert name in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys()
    assert torch.equal(model(ids).logits, expected[0])
    assert torch.equal(model.generate(ids, max_new_tokens=3, do_sample=False), expected[1])


@pytest.mark.parametrize("queries", [1, 3, TEXT])
@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_products_and_the_fused_kernel_are_merged_alike(queries: int, shared: bool) -> None:
    """Keys whose rows lie side by side go through products, the others through the kernel."""
    call = a_call(queries=queries)
    segments = some_segments(1 if shared else 2, 1, 6)
    laid = [s._replace(key=s.key.transpose(2, 3).contiguous().transpose(2, 3)) for s in segments]
    close(attend_merged(call, laid), plain(call, segments))
    close(attend_merged(call, [segments[0], laid[1]]), plain(call, segments))


@torch.no_grad()
def test_rows_that_a_batch_shares_go_through_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[int, ...]] = []
    whole = attention._attend

    def counted(query: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        called.append(tuple(query.shape))
        return whole(query, *args, **options)

    monkeypatch.setattr(attention, "_attend", counted)
    call, segments = a_call(batch=3, queries=2), some_segments(1, 6)
    close(attend_merged(call, segments), plain(call, segments))
    folded = HEADS // GROUPS * 2
    assert called == [(1, GROUPS, 3 * folded, WIDTH), (3, GROUPS, folded, WIDTH)]


@pytest.mark.parametrize("queries", [1, 4, TEXT])
@torch.no_grad()
def test_padding_does_not_go_through_shared_rows(
    queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in its place is a number, and other tokens are as without padding."""
    call, segments = a_call(batch=3, queries=queries), some_segments(1, 6)
    assert call.mask is not None
    mask = call.mask.clone()
    padding = TEXT - 2, 0, 3
    for row, count in enumerate(padding):
        mask[row, :, :, :count] = False
    padded = replace(call, mask=mask)
    gone = sum(max(0, count - (TEXT - queries)) for count in padding)
    asked: list[int] = []
    whole = attention._attend

    def counted(query: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        asked.append(query.shape[0] * query.shape[2])
        return whole(query, *args, **options)

    monkeypatch.setattr(attention, "_attend", counted)
    found = attend_merged(padded, segments)
    assert asked[0] == HEADS // GROUPS * (3 * queries - gone)
    assert bool(found.isfinite().all())
    expected = plain(padded, segments)
    for row, count in enumerate(padding):
        first = max(0, count - (TEXT - queries))
        close(found[row, first:], expected[row, first:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masked_attention_tells_its_logarithm_and_is_learned_from(dtype: torch.dtype) -> None:
    query = drawn(2, HEADS, 5, WIDTH, seed=1).to(dtype).requires_grad_()
    key, value = (
        drawn(2, GROUPS, TEXT, WIDTH, seed=seed).to(dtype).requires_grad_() for seed in (2, 3)
    )
    mask = torch.zeros(5, TEXT, dtype=dtype).masked_fill_(
        torch.ones(5, TEXT).tril(2) == 0, torch.finfo(dtype).min
    )
    output, logs = attend_masked(query, key, value, 0.3, mask)
    each = HEADS // GROUPS
    scores = query @ key.repeat_interleave(each, 1).transpose(2, 3) * 0.3 + mask
    expected = scores.softmax(dim=-1) @ value.repeat_interleave(each, 1)
    assert torch.allclose(output, expected, atol=1e-6)
    assert torch.allclose(logs, scores.logsumexp(dim=-1).to(logs.dtype), atol=1e-5)
    weight = drawn(*output.shape, seed=4).to(dtype)
    found, wanted = (
        torch.autograd.grad((one * weight).sum(), (query, key, value)) for one in (output, expected)
    )
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
