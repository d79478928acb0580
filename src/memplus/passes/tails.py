"""Tails of memories, put among the caller's tokens on their way into the decoder.

A tail is memory, not prompt: whatever counts, compares or returns tokens outside the decoder
(generation with its processors and criteria, the head, the loss) sees the caller's tokens alone.

Shapes: B batch, T tokens of the caller, W tokens with tails, S tokens read so far, d hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from memplus.passes.prompt import Prompt

__all__ = ["Tails"]


class Tails:
    """The tails of one batch of prompts.

    Args:
        prompt: the layout of the caller's prompts with their tails.
        embedding: the model's input embedding, for prompts given as embeddings.
    """

    def __init__(self, prompt: Prompt, embedding: nn.Module) -> None:
        assert prompt.tail is not None
        self.ids = prompt.input_ids
        self.places = prompt.tail
        self.mask = prompt.attention_mask
        self.extra = prompt.extra
        self._embedding = embedding
        self._resumed: Tensor | None = None
        self._given: int | None = None

    @property
    def width(self) -> int:
        """W."""
        return int(self.ids.shape[1])

    def resume(self, input_ids: Tensor) -> None:
        """The next call reads what of ``input_ids`` [B, T] its text cache does not hold yet.

        Stock generation counts the cache's tokens, the tail among them, as the caller's.
        """
        self._resumed = input_ids

    def put_in(self, arguments: dict[str, Any], start: int) -> None:
        """Change a decoder call's arguments so that the tails are read.

        Args:
            arguments: of the decoder, by name: ``input_ids`` or ``inputs_embeds``,
                ``position_ids`` that count the caller's tokens, ``attention_mask``.
            start: tokens in the text cache.
        """
        self._given = None
        if self._resumed is not None and start:
            arguments["input_ids"] = self._resumed[:, start - self.extra :]
            arguments["position_ids"] = None
        self._resumed = None
        name = "input_ids" if arguments.get("inputs_embeds") is None else "inputs_embeds"
        given: Tensor = arguments[name]
        batch, length = given.shape[:2]
        if batch != self.ids.shape[0]:
            self._expand(batch // self.ids.shape[0])
        added = 0 if start else self.extra
        end = start + added + length
        arguments["attention_mask"] = self._widened(arguments.get("attention_mask"), end)
        positions = arguments.get("position_ids")
        if positions is not None:
            arguments["position_ids"] = self._positions(positions, added, start)
        if start >= self.width:
            return
        self._given = length
        arguments[name] = self._with_tails(given, added, start)

    def cut_out(self, output: Any) -> Any:
        """The decoder's output [B, W, d] cut to what the caller gave."""
        if self._given is None:
            return output
        count = self._given
        output.last_hidden_state = output.last_hidden_state[:, -count:]
        if output.get("hidden_states") is not None:
            output.hidden_states = tuple(
                None if one is None else one[:, -count:] for one in output.hidden_states
            )
        if output.get("attentions") is not None:
            output.attentions = tuple(one[:, :, -count:] for one in output.attentions)
        return output

    def _expand(self, times: int) -> None:
        """Serve every row ``times`` times in a row (beams)."""
        self.ids = self.ids.repeat_interleave(times, dim=0)
        self.places = self.places.repeat_interleave(times, dim=0)
        if self.mask is not None:
            self.mask = self.mask.repeat_interleave(times, dim=0)

    def _with_tails(self, given: Tensor, added: int, start: int) -> Tensor:
        """Ids [B, T] or embeddings [B, T, d] with the tails where they belong."""
        embedded = given.dim() == 3
        wide = nn.functional.pad(given, (0, 0, added, 0) if embedded else (added, 0))
        places = self.places[:, start : start + wide.shape[1]]
        rows, columns = places.nonzero(as_tuple=True)
        tokens = self.ids[rows, columns + start]
        values = self._embedding(tokens).to(wide.dtype) if embedded else tokens
        return wide.index_put((rows, columns), values)

    def _positions(self, given: Tensor, added: int, start: int) -> Tensor:
        """The caller's positions [1 or B, T], moved by the tails, with those of the tails."""
        wide = given + self.places.sum(dim=1, keepdim=True)
        if start >= self.width:
            return wide
        wide = nn.functional.pad(wide, (added, 0))
        places = self.places[:, start : start + wide.shape[1]]
        own = (self.places.cumsum(dim=1) - 1)[:, start : start + wide.shape[1]]
        known = wide[:, : places.shape[1]]
        return torch.cat([torch.where(places, own, known), wide[:, places.shape[1] :]], dim=1)

    def _widened(self, given: Any, end: int) -> Tensor | None:
        """The mask [B, S] of all tokens so far, from one of the caller's tokens or of all.

        A mask that stock generation has prepared for a static cache counts the caller's tokens,
        so the decoder gets to make its own.
        """
        if not isinstance(given, Tensor) or given.dim() != 2:
            if self.mask is None:
                return None
            return nn.functional.pad(self.mask, (0, end - self.width), value=1)[:, :end]
        wide = nn.functional.pad(given, (end - given.shape[1], 0)).clone()
        places = self.places[:, :end]
        wide[:, : places.shape[1]].masked_fill_(places, 1)
        return None if bool(wide.all()) else wide
