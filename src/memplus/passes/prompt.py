"""Prompts as they reach the model: the memories' tails before them, padding on the left.

Shapes: B batch, T prompt tokens, W tokens with tails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memplus.errors import UsageError

__all__ = ["Prompt", "asked_by_last", "assemble"]


@dataclass(frozen=True)
class Prompt:
    """What is put through the model."""

    input_ids: Tensor
    """[B, W]: padding, tail, prompt."""
    attention_mask: Tensor | None
    """[B, W] 1 where a token is; None where there is no padding."""
    asked: Tensor
    """[B, W] true for the caller's own tokens, or the last of them: those that retrieve."""
    tail: Tensor | None = None
    """[B, W] true for tokens of a tail; None where no row has one."""
    extra: int = 0
    """W - T: columns before the caller's. A tail may stand in the caller's padding too."""

    @property
    def width(self) -> int:
        """W."""
        return int(self.input_ids.shape[1])


def assemble(
    input_ids: Tensor, attention_mask: Tensor | None, tails: Sequence[Sequence[int]]
) -> Prompt:
    """Lay every row's tail out before its prompt.

    Args:
        input_ids: [B, T].
        attention_mask: [B, T], 1 where a token is; with tails, padding must be on the left.
        tails: a list of token ids per row; empty where there is none.

    Raises:
        UsageError: the mask has another shape or hides a whole row, or tails meet right padding.
    """
    batch, length = input_ids.shape
    if attention_mask is not None:
        _check_mask(attention_mask, (batch, length))
    there = input_ids.new_ones((batch, length)) if attention_mask is None else attention_mask
    there = there.bool()
    if not any(tails):
        mask = None if attention_mask is None or bool(there.all()) else attention_mask
        return Prompt(input_ids, mask, there)
    if bool((there[:, :-1] & ~there[:, 1:]).any()):
        raise UsageError("A memory with a tail needs its prompts padded on the left.")
    counts = there.sum(dim=1).tolist()
    width = max(max(len(tail) + n for tail, n in zip(tails, counts, strict=True)), length)
    ids = input_ids.new_zeros((batch, width))
    mask = torch.zeros((batch, width), dtype=torch.long, device=ids.device)
    asked, tail_mask = (torch.zeros_like(mask, dtype=torch.bool) for _ in range(2))
    ids[:, width - length :] = input_ids
    asked[:, width - length :] = there
    mask[:, width - length :] = there.long()
    for row, (tail, count) in enumerate(zip(tails, counts, strict=True)):
        if tail:
            place = slice(width - count - len(tail), width - count)
            ids[row, place] = torch.tensor(tail, dtype=ids.dtype, device=ids.device)
            mask[row, place] = 1
            tail_mask[row, place] = True
    shown = None if bool(mask.all()) else mask
    return Prompt(ids, shown, asked, tail_mask, width - length)


def asked_by_last(prompt: Prompt, count: int) -> Prompt:
    """The same prompt, of whose own tokens only the last ``count`` of each row ask."""
    own = prompt.asked
    before_end = own.flip(1).cumsum(dim=1).flip(1)
    return replace(prompt, asked=own & (before_end <= count))


def _check_mask(mask: Tensor, shape: tuple[int, int]) -> None:
    if tuple(mask.shape) != shape:
        raise UsageError(
            f"attention_mask has shape {list(mask.shape)}, but input_ids or inputs_embeds hold "
            f"{list(shape)} tokens. Give 1 for a token and 0 for padding, one for each token."
        )
    if not bool(mask.bool().any(dim=1).all()):
        raise UsageError(
            "attention_mask hides every token of a row. Give every row at least one token."
        )
