"""What callers hand to a read, checked at the door: ids, masks, embeddings, caches, memories.

Shapes: B batch, T tokens, d hidden size.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.rope import Rope
from memplus.errors import ConfigError, PositionsError, UsageError
from memplus.memory.state import Memory

__all__ = [
    "Memories",
    "Text",
    "as_batch",
    "as_chunk",
    "as_name",
    "as_text",
    "cached_tokens",
    "check_count",
    "check_frequencies",
    "check_labels",
    "check_memories",
    "check_memory",
    "check_positions",
    "check_room",
    "check_vocabulary",
    "per_row",
]

Memories = Memory | Sequence[Memory]


@dataclass(frozen=True)
class Text:
    """The caller's text of one read."""

    ids: Tensor
    """[B, T] int64; zeros where the text was given as embeddings alone."""
    mask: Tensor | None
    """[B, T or more], 1 where a token is."""
    embeds: Tensor | None = None
    """[B, T, d]; what the model reads, where it is there."""
    has_ids: bool = True
    """Whether ids were given."""

    @property
    def tokens(self) -> int:
        """T."""
        return int(self.ids.shape[1])

    @property
    def inputs(self) -> dict[str, Tensor]:
        """As arguments of the stock forward pass."""
        return {"input_ids": self.ids} if self.embeds is None else {"inputs_embeds": self.embeds}


def as_batch(ids: Tensor, name: str = "input_ids") -> Tensor:
    """[T] or [B, T] ids as [B, T] int64.

    Raises:
        UsageError: no tensor of integers, another shape, or no tokens.
    """
    if not isinstance(ids, Tensor):
        raise UsageError(f"{name} must be a tensor [T] or [B, T] of token ids, {_found(ids)}.")
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise UsageError(f"{name} must hold integers, not {str(ids.dtype).removeprefix('torch.')}.")
    if ids.dim() == 1:
        ids = ids[None]
    if ids.dim() != 2 or 0 in ids.shape:
        raise UsageError(f"{name} must be [T] or [B, T] with T >= 1, not {list(ids.shape)}.")
    return ids.long()


def as_chunk(ids: Tensor) -> Tensor:
    """[T] or [1, T] ids as [1, T] int64.

    Raises:
        UsageError: no tensor of integers, another shape, or no tokens.
    """
    batch = as_batch(ids)
    if len(batch) != 1:
        raise UsageError(f"input_ids must be one chunk, [T] or [1, T], not {list(batch.shape)}.")
    return batch


def as_name(value: Any, name: str) -> str:
    """A path or a model's name as text.

    Raises:
        UsageError: it is neither, or empty.
    """
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if text == "":
            raise UsageError(f"{name} is empty; it must be a path or a model's name.")
        if isinstance(text, str):
            return text
    raise UsageError(f"{name} must be a path or a model's name, {_found(value)}.")


def check_vocabulary(ids: Tensor | Sequence[int], vocabulary: int, name: str = "input_ids") -> None:
    """Refuse ids that the embedding has no row for.

    Raises:
        UsageError: with such an id.
    """
    if isinstance(ids, Tensor):
        low, high = (int(end) for end in ids.aminmax()) if ids.numel() else (0, 0)
    else:  # such as come from JSON: larger, maybe, than a tensor holds
        low, high = (min(ids), max(ids)) if ids else (0, 0)
    if low < 0 or high >= vocabulary:
        found = low if low < 0 else high
        raise UsageError(
            f"The {name} hold {found}, but token ids of this model lie in 0..{vocabulary - 1}. "
            "Does the tokenizer belong to the model?"
        )


def as_text(
    backbone: Backbone, input_ids: Any, attention_mask: Any, inputs_embeds: Any = None
) -> Text:
    """The caller's text, on the model's device.

    Raises:
        UsageError: an argument of another kind or shape, or ids outside the vocabulary.
    """
    if input_ids is None and inputs_embeds is None:
        raise UsageError("There is no text: give input_ids or inputs_embeds.")
    embeds = None if inputs_embeds is None else _as_embeds(backbone, inputs_embeds)
    if input_ids is None:
        assert embeds is not None
        ids = torch.zeros(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        return Text(ids, _as_mask(backbone, attention_mask, ids), embeds, has_ids=False)
    ids = as_batch(input_ids)
    check_vocabulary(ids, int(backbone.embedding.num_embeddings))
    ids = ids.to(backbone.device)
    if embeds is not None and embeds.shape[:2] != ids.shape:
        raise UsageError(
            f"input_ids {list(ids.shape)} and inputs_embeds {list(embeds.shape)} differ in size."
        )
    return Text(ids, _as_mask(backbone, attention_mask, ids), embeds)


def _as_embeds(backbone: Backbone, embeds: Any) -> Tensor:
    width = backbone.hidden_size
    if not isinstance(embeds, Tensor) or not embeds.dtype.is_floating_point:
        raise UsageError(
            f"inputs_embeds must be a tensor [B, T, {width}] of floats, {_found(embeds)}."
        )
    if embeds.dim() == 2:
        embeds = embeds[None]
    if embeds.dim() != 3 or embeds.shape[2] != width or 0 in embeds.shape:
        raise UsageError(f"inputs_embeds must be [B, T, {width}], not {list(embeds.shape)}.")
    placed: Tensor = embeds.to(backbone.device)
    return placed


def _as_mask(backbone: Backbone, mask: Any, ids: Tensor) -> Tensor | None:
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise UsageError(f"attention_mask must be a tensor [B, T], {_found(mask)}.")
    mask = mask[None] if mask.dim() == 1 else mask
    if mask.dim() != 2 or mask.shape[0] != ids.shape[0]:
        raise UsageError(
            f"attention_mask must be [B, T], 1 for a token and 0 for padding; it has shape "
            f"{list(mask.shape)}, and the text {list(ids.shape)}."
        )
    placed: Tensor = mask.to(backbone.device).long()
    return placed


def check_labels(labels: Any, ids: Tensor, vocabulary: int) -> Tensor:
    """Labels [B, T] for a text; -100 where there is none.

    Raises:
        UsageError: another shape, or labels outside the vocabulary.
    """
    checked = as_batch(labels, "labels").to(ids.device)
    if checked.shape != ids.shape:
        raise UsageError(f"labels have shape {list(checked.shape)}, the text {list(ids.shape)}.")
    check_vocabulary(checked.masked_fill(checked == -100, 0), vocabulary, "labels")
    return checked


def check_count(name: str, value: Any) -> None:
    """Refuse what is no number of tokens to generate.

    Raises:
        ConfigError: no integer, or less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(name, value=value, reason="it must be a whole number of at least 1")


def cached_tokens(cache: Any) -> int:
    """Tokens that a text cache holds; 0 for none.

    Raises:
        UsageError: it is no cache.
    """
    if cache is None:
        return 0
    if not hasattr(cache, "get_seq_length"):
        raise UsageError(
            f"past_key_values must be a cache of the model library, such as DynamicCache, "
            f"{_found(cache)}."
        )
    return int(cache.get_seq_length())


def check_room(cache: Any, needed: int) -> None:
    """Refuse a cache of fixed size that is too small.

    Args:
        cache: a text cache or None.
        needed: tokens that it will have to hold, tails included.

    Raises:
        UsageError: with the size that is needed.
    """
    for layer in getattr(cache, "layers", ()):
        room = getattr(layer, "max_cache_len", None)
        if room is not None and not getattr(layer, "is_sliding", False) and needed > room:
            raise UsageError(
                f"past_key_values have room for {room} tokens, but {needed} are needed, the tail "
                "among them. Give a larger cache or none."
            )


def per_row(memory: Any, batch: int, rows: str = "prompts") -> list[Memory]:
    """One memory for every row of a batch; none at all where ``memory`` is None.

    Args:
        memory: one memory, or a list of them.
        batch: number of rows.
        rows: what the rows are, for messages.

    Raises:
        UsageError: another number of memories, or something else.
    """
    if memory is None:
        return []
    check_memories(memory)
    if isinstance(memory, Memory):
        return [memory] * batch
    memories = list(memory)
    if len(memories) != batch:
        whose = rows.removesuffix("s") if batch == 1 else rows
        given = "1 memory was" if len(memories) == 1 else f"{len(memories)} memories were"
        raise UsageError(f"{given} given for {batch} {whose}.")
    return memories


def check_memory(memory: Any, beside: Any = None) -> None:
    """Refuse what is no memory.

    Args:
        memory: what was given for it.
        beside: the argument behind it.

    Raises:
        UsageError: with what it is.
    """
    if not isinstance(memory, Memory):
        raise UsageError(f"memory must be a Memory, {_found(memory)}.{_order(beside)}")


def check_memories(memory: Any, beside: Any = None) -> None:
    """Refuse what is neither a memory nor a list of them; arguments as of ``check_memory``.

    Raises:
        UsageError: with what it is.
    """
    if isinstance(memory, Memory):
        return
    order = _order(beside)
    if isinstance(memory, str | bytes) or not isinstance(memory, Sequence):
        raise UsageError(f"memory must be a Memory or a list of them, {_found(memory)}.{order}")
    for one in memory:
        if not isinstance(one, Memory):
            raise UsageError(f"memory must be a list of memories, {_found(one)} among them.{order}")


def _order(beside: Any) -> str:
    """What to say where the memory stands in the place of the next argument."""
    listed = beside if isinstance(beside, list | tuple) else [beside]
    swapped = any(isinstance(one, Memory) for one in listed)
    return " The memory comes first, then what it is given." if swapped else ""


def _found(value: Any) -> str:
    return f"not {type(value).__name__}"


def check_positions(rope: Rope, start: int, tokens: int) -> None:
    """Refuse a text of ``tokens`` behind a prefix of ``start`` positions that does not fit.

    Raises:
        PositionsError: with what is left.
    """
    available = max(0, rope.positions - start)
    if tokens > available:
        raise PositionsError(needed=tokens, available=available)


def check_frequencies(rope: Rope, start: int, begun: int, tokens: int) -> None:
    """Refuse a text of ``tokens`` whose frequencies change after its first ``begun`` are read.

    Args:
        rope: of the model.
        start: positions of the prefix.
        begun: tokens read in the first pass.
        tokens: tokens in the end.

    Raises:
        UsageError: with the length at which they change.
    """
    switch = rope.switch_between(start + begun, start + tokens)
    if switch is not None:
        raise UsageError(
            f"The text would grow past {switch} positions, from where on this model's "
            "frequencies are others: what it has read by then would not fit any more. Give "
            "the whole text without past_key_values, or ask for fewer new tokens."
        )
