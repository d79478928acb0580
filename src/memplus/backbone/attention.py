"""Attention over a memory prefix and text, as a function that stock layers call.

Registered beside the library's own functions; a layer comes here only while a session runs on its
model (``backbone.session``). Threads that do not run the session get the stock function and the
stock mask. For the one that does, two ways to the same numbers:

- training, eager and anything unusual: concatenate the prefix, pad the mask, call the stock
  function;
- inference: one attention per segment, none of them copied, merged by log-sum-exp; each by the
  library's fused kernel or in plain products (``backbone.products`` on a CPU, ``backbone.kernels``
  elsewhere), whichever is the quicker.

Shapes: B batch, H heads, G key/value heads, T queries, S text keys, P prefix rows, D head width.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memplus.backbone.current import session_here
from memplus.backbone.kernels import attend_flash, attend_plain, flash_serves
from memplus.backbone.products import attend_rows, products_serve

__all__ = [
    "Attended",
    "AttentionCall",
    "Segment",
    "attend_concatenated",
    "attend_masked",
    "attend_merged",
    "eager_function",
    "implementation_for",
]


class Segment(NamedTuple):
    """Consecutive prefix rows, rotated."""

    key: Tensor
    """[B or 1, G, P, D]; 1 where all batch rows share them."""
    value: Tensor
    """[B or 1, G, P, D]."""
    bias: Tensor | None = None
    """[B, P] float32 added to the scores of these rows; None adds nothing."""


Attended = tuple[Tensor, Tensor | None]
"""Output [B, T, H, D], and where the attention is eager its weights [B, H, T, P + S]."""

_CAUSAL_BLOCK = 128
_SDPA = "memplus_sdpa"
_NAMES: dict[tuple[str, str], str] = {}
"""(what a session runs on, what the model has) -> the registered name that serves both."""


@dataclass(frozen=True)
class AttentionCall:
    """What a stock layer hands to its attention function."""

    module: Any
    query: Tensor
    """[B, H, T, D], rotated."""
    key: Tensor
    """[B, G, S, D], rotated; from the text cache where there is one."""
    value: Tensor
    """[B, G, S, D]."""
    mask: Tensor | None
    """[B or 1, 1, T, S]: boolean (sdpa) or additive (eager)."""
    options: dict[str, Any]
    """Everything else: scaling, dropout, softcap, sliding_window."""

    @property
    def layer(self) -> int:
        """Index of the layer."""
        return int(self.module.layer_idx)

    @property
    def scale(self) -> float:
        """What scores are multiplied by."""
        scaling = self.options.get("scaling")
        return float(self.query.shape[-1] ** -0.5 if scaling is None else scaling)

    @property
    def mergeable(self) -> bool:
        """Whether the segments may be attended to one by one."""
        return (
            self.module.config._attn_implementation == _SDPA
            and not torch.is_grad_enabled()
            and self.options.get("softcap") is None
            and self.query.shape[-1] == self.value.shape[-1]
        )


def implementation_for(name: str, stock: str) -> str:
    """The name under which a session attends, and other threads as the stock model does.

    Args:
        name: on which stock function the session stands, ``sdpa`` or ``eager``.
        stock: the model's own attention implementation.
    """
    known = _NAMES.get((name, stock))
    if known is None:
        # The library reads meaning into some names, so the stock one is not part of this one.
        known = f"memplus_{name}" if name == stock else f"memplus_{name}_{len(_NAMES)}"
        mask = _sdpa_mask if name == "sdpa" else eager_mask
        AttentionInterface.register(known, partial(_attention, stock))
        AttentionMaskInterface.register(known, partial(_mask, mask, stock))
        _NAMES[name, stock] = known
    return known


def _attention(
    stock: str,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> Attended:
    session = session_here(module.config)
    if session is None:
        function = ALL_ATTENTION_FUNCTIONS.get_interface(stock, eager_function(module))
        result: Attended = function(module, query, key, value, attention_mask, **options)
        return result
    call = AttentionCall(module, query, key, value, attention_mask, options)
    attended: Attended = session.attend(call)
    return attended


def eager_function(module: Any) -> Callable[..., Any]:
    """The plain attention function of the module's family."""
    function: Callable[..., Any] = sys.modules[type(module).__module__].eager_attention_forward
    return function


def _mask(ours: Callable[..., Any], stock: str, *args: Any, **kwargs: Any) -> Any:
    if session_here(kwargs["config"]) is None:
        return ALL_MASK_ATTENTION_FUNCTIONS[stock](*args, **kwargs)
    return ours(*args, **kwargs)


def _sdpa_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    # A missing mask would be ambiguous: a static and a dynamic cache mean different corners.
    kwargs["allow_is_causal_skip"] = False
    return sdpa_mask(*args, **kwargs)


for _name in ("sdpa", "eager"):
    implementation_for(_name, _name)


def attend_concatenated(
    call: AttentionCall, segments: Sequence[Segment], prefix_mask: Tensor | None = None
) -> Attended:
    """The stock function over prefix and text together.

    Args:
        call: the layer's call.
        segments: prefix parts in order, each for B rows or 1.
        prefix_mask: [B, P] true where a prefix row is there; None means all are.

    Returns:
        The output; the weights too where the attention is eager.
    """
    batch = call.query.shape[0]
    keys = torch.cat([*(s.key.expand(batch, -1, -1, -1) for s in segments), call.key], dim=2)
    values = torch.cat([*(s.value.expand(batch, -1, -1, -1) for s in segments), call.value], dim=2)
    mask = _padded_mask(call, keys.shape[2] - call.key.shape[2], prefix_mask)
    if mask is not None and any(segment.bias is not None for segment in segments):
        mask = _biased(mask, segments, call.query.dtype)
    sdpa = call.module.config._attn_implementation == _SDPA
    function = sdpa_attention_forward if sdpa else eager_function(call.module)
    attended: Attended = function(call.module, call.query, keys, values, mask, **call.options)
    return attended


def _biased(mask: Tensor, segments: Sequence[Segment], dtype: torch.dtype) -> Tensor:
    """The mask [B, 1, T, P + S] as numbers to add, with what the segments add."""
    if mask.dtype == torch.bool:
        hidden = torch.finfo(dtype).min
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, hidden)
    start = 0
    for segment in segments:
        stop = start + segment.key.shape[2]
        if segment.bias is not None:
            mask[..., start:stop] += segment.bias[:, None, None].to(mask.dtype)
        start = stop
    return mask


def _padded_mask(call: AttentionCall, rows: int, prefix_mask: Tensor | None) -> Tensor | None:
    mask = call.mask
    if mask is None:
        raise AssertionError("the registered mask functions always return a mask")
    batch = call.query.shape[0]
    shape = (batch, 1, mask.shape[2], rows)
    there = torch.ones(shape, dtype=torch.bool, device=mask.device)
    if prefix_mask is not None:
        there = prefix_mask[:, None, None, :].expand(shape)
    if mask.dtype != torch.bool:
        hidden = torch.finfo(mask.dtype).min
        there = torch.zeros(shape, dtype=mask.dtype, device=mask.device).masked_fill(~there, hidden)
    return torch.cat([there, mask.expand(batch, -1, -1, -1)], dim=3)


def attend_merged(
    call: AttentionCall, segments: Sequence[Segment], *, causal: bool = False
) -> Tensor:
    """One attention per segment, merged by log-sum-exp; nothing of the prefix is copied.

    Args:
        call: the layer's call; its mask covers the text part.
        segments: prefix parts, fully visible to every query.
        causal: the text is one unpadded causal block (T = S) and its mask need not be read.

    Returns:
        [B, T, H, D].
    """
    call, segments = _in_one_dtype(call, segments)
    query, heads = call.query, call.query.shape[1]
    groups = heads // call.key.shape[1]
    if causal:
        return _causal(call, segments, groups)
    folded, there = _fold(query, groups), _tokens_of(call)
    parts = [
        _attend_own_rows(folded, segment, call.scale)
        if segment.key.shape[0] == len(query)
        else _attend_shared(query, segment, call.scale, there)
        for segment in segments
    ]
    mask = _additive(call.mask, query.dtype)
    if mask is not None and groups > 1:
        mask = mask.repeat(1, 1, groups, 1)
    parts.append(_attend(folded, call.key, call.value, call.scale, mask=mask))
    merged = _merge(parts).reshape(query.shape)
    return merged.transpose(1, 2).contiguous()


def _in_one_dtype(
    call: AttentionCall, segments: Sequence[Segment]
) -> tuple[AttentionCall, Sequence[Segment]]:
    """Autocast leaves queries and keys, which are rotated, wider than values; kernels want one."""
    found = [call.query, call.key, call.value]
    found += [states for one in segments for states in (one.key, one.value)]
    if len({states.dtype for states in found}) == 1:
        return call, segments
    dtype = reduce(torch.promote_types, (states.dtype for states in found))
    query, key, value = (states.to(dtype) for states in found[:3])
    cast = [one._replace(key=one.key.to(dtype), value=one.value.to(dtype)) for one in segments]
    return AttentionCall(call.module, query, key, value, call.mask, call.options), cast


def attend_masked(
    query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention over some keys with the log of its denominator, by which it can be merged.

    Gradients reach the inputs through the output; through the log they do on no CPU.

    Args:
        query: [B, H, T, D].
        key: [B, G, S, D].
        value: [B, G, S, D].
        scale: what scores are multiplied by.
        mask: [T, S] added to them, in the query's dtype.

    Returns:
        [B, H, T, D] and [B, H, T], float32 at least.
    """
    heads, groups = query.shape[1], query.shape[1] // key.shape[1]
    folded = mask.repeat(groups, 1)[None, None]
    return _unfold(*_attend(_fold(query, groups), key, value, scale, mask=folded), heads)


def _tokens_of(call: AttentionCall) -> Tensor | None:
    """Indices of the tokens that are no padding, in the flattened batch; None: all or one row."""
    batch, _, length, _ = call.query.shape
    if batch == 1 or length == 1 or call.mask is None:
        return None
    there = call.mask[:, 0].any(dim=-1).expand(batch, -1).reshape(-1)
    return None if bool(there.all()) else torch.nonzero(there).squeeze(1)


def _attend_own_rows(query: Tensor, segment: Segment, scale: float) -> tuple[Tensor, Tensor]:
    """Folded queries over rows of their own batch row."""
    bias = None if segment.bias is None else segment.bias[:, None]
    return _attend_biased(query, segment.key, segment.value, scale, bias)


def _attend_shared(
    query: Tensor, segment: Segment, scale: float, there: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Queries over rows that all batch rows share, folded: [B, G, H / G * T, D] and the logs.

    They go through the rows together, so that those are read once, and without padding.

    Args:
        query: [B, H, T, D].
        segment: of one batch row, for all.
        scale: what scores are multiplied by.
        there: [n] indices of tokens that are no padding; None: all.
    """
    key, value, bias = segment
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    tokens = query.transpose(1, 2).reshape(batch * length, kv_heads, groups, width)
    some = tokens if there is None else tokens[there]
    lanes = some.transpose(0, 1).reshape(1, kv_heads, -1, width)
    if bias is not None:
        own = torch.arange(batch, device=query.device).repeat_interleave(length)
        own = own if there is None else own[there]
        bias = bias[own].repeat_interleave(groups, dim=0)[None]
    out, lse = _attend_biased(lanes, key, value, scale, bias)
    out = out.reshape(kv_heads, -1, groups, width).transpose(0, 1)
    lse = lse.reshape(kv_heads, -1, groups).transpose(0, 1)
    if there is not None:
        out = torch.zeros_like(tokens).index_copy_(0, there, out.contiguous())
        lse = lse.new_zeros(tokens.shape[:3]).index_copy_(0, there, lse.contiguous())
    out = out.reshape(batch, length, kv_heads, groups, width).permute(0, 2, 3, 1, 4)
    lse = lse.reshape(batch, length, kv_heads, groups).permute(0, 2, 3, 1)
    return out.flatten(2, 3), lse.flatten(2, 3)


def _merge(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Outputs [..., T, D] weighed by their denominators, given as logs [..., T] float32."""
    output, lse = parts[0]
    for number, (other, other_lse) in enumerate(parts[1:], start=2):
        share = torch.sigmoid(other_lse - lse).to(output.dtype)
        output = torch.lerp(output, other, share[..., None])
        if number < len(parts):
            lse = torch.logaddexp(lse, other_lse)
    return output


def _causal(call: AttentionCall, segments: Sequence[Segment], groups: int) -> Tensor:
    """Prefix and a causal text, [B, T, H, D], in blocks of queries.

    The CPU's fused kernel works out whole squares of a causal block and throws half away; so a
    block of queries takes what lies before it like a prefix, and only its own square causally.
    On a GPU every call has its price, and the text is one block.
    """
    batch, heads, length, _ = call.query.shape
    keys = torch.cat([*(s.key.expand(batch, -1, -1, -1) for s in segments), call.key], dim=2)
    values = torch.cat([*(s.value.expand(batch, -1, -1, -1) for s in segments), call.value], dim=2)
    before = keys.shape[2] - length
    blocks, size = [], _CAUSAL_BLOCK if call.query.device.type == "cpu" else length
    for start in range(0, length, size):
        query = call.query[:, :, start : start + size]
        seen, end = before + start, before + start + query.shape[2]
        older = _attend(_fold(query, groups), keys[:, :, :seen], values[:, :, :seen], call.scale)
        own = _attend_own(query, keys[:, :, seen:end], values[:, :, seen:end], call.scale)
        blocks.append(_merge([_unfold(*older, heads), own]))
    return torch.cat(blocks, dim=2).transpose(1, 2).contiguous()


def _attend_own(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """A text among itself, causally: [B, H, T, D] and [B, H, T]; keys shared, not copied."""
    heads, length, width = query.shape[1:]
    groups = heads // key.shape[1]
    out, lse = _attend(
        query.reshape(-1, groups, length, width),
        key.reshape(-1, 1, length, width).expand(-1, groups, -1, -1),
        value.reshape(-1, 1, length, width).expand(-1, groups, -1, -1),
        scale,
        causal=True,
    )
    return out.reshape(-1, heads, length, width), lse.reshape(-1, heads, length)


def _fold(query: Tensor, groups: int) -> Tensor:
    """[B, H, T, D] -> [B, G, groups * T, D]: query heads of one key head become queries."""
    batch, heads, length, width = query.shape
    return query.reshape(batch, heads // groups, groups * length, width)


def _unfold(output: Tensor, lse: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Undo ``_fold`` for an output [B, G, groups * T, D] and its logs."""
    batch, kv_heads, rows, width = output.shape
    length = rows * kv_heads // heads
    return output.reshape(batch, heads, length, width), lse.reshape(batch, heads, length)


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None:
        return None
    hidden = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, hidden)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Softmax attention with the log of its denominator: [B, G, T, D] and [B, G, T] float32."""
    if query.device.type == "cpu":
        if mask is None and not causal and products_serve(query, key):
            return attend_rows(query, key, value, scale)
        if mask is not None:
            mask = mask.expand(query.shape[0], -1, -1, -1)
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=scale
        )
        return out, lse
    if mask is None and flash_serves(query, key, value, causal=causal):
        return attend_flash(query, key, value, scale, causal=causal)
    return attend_plain(query, key, value, scale, mask=mask, causal=causal)


def _attend_biased(
    query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same without a mask; ``bias`` [B, T or 1, P] is added to the scores."""
    if bias is None:
        return _attend(query, key, value, scale)
    if query.device.type == "cpu":
        return attend_rows(query, key, value, scale, bias)
    return attend_plain(query, key, value, scale, mask=bias[:, None])
