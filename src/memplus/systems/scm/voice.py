"""All that SCM asks of a model: to go on with a prompt, which words follow, and text vectors.

The decoder is used without any memory of M+. Answers may be read under M+'s read adapter; all else
is the plain base's, or that of an update trained for the controller.

Shapes: T tokens, V vocabulary, d hidden size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from memplus.backbone.lora import Lora, under
from memplus.backbone.text_cache import TextCache, in_common
from memplus.errors import PositionsError
from memplus.systems.protocol import Reply
from memplus.systems.shared import Adapter, Alone, Shared, answer_from_prompt

__all__ = ["Voice"]


class Voice:
    """A decoder under one set of weights.

    A prompt that is too long for its positions loses its beginning.

    Args:
        shared: the model.
        adapter: under which it answers.
        lora: an update of the plain base, under which next words are looked for; None: without.
    """

    def __init__(self, shared: Shared, adapter: Adapter = "none", lora: Lora | None = None) -> None:
        self.shared = shared
        self.alone = Alone(adapter)
        self.lora = lora
        self._known: OrderedDict[tuple[int, ...], TextCache] = OrderedDict()
        """Beginnings of prompts that stay read, the one last needed at the end; together they have
        no more tokens than one prompt of the model may have."""

    def answer(self, ids: Sequence[int], most: int) -> Reply:
        """What is generated after a prompt, greedily.

        Args:
            ids: of the prompt.
            most: new tokens.

        Raises:
            PositionsError: the new tokens alone need all positions.
        """
        return answer_from_prompt(self.shared, self._end(ids, most), most, alone=self.alone)

    @torch.no_grad()
    def next_words(self, prompts: Sequence[Sequence[int]], begin: int = 0) -> list[Tensor]:
        """The log-probabilities [V] of what follows each prompt; what all begin with is read once.

        Args:
            prompts: token ids.
            begin: how many of their first tokens, alike in all, later prompts may begin with too.
        """
        given = [self._end(ids, 1) for ids in prompts]
        alike = in_common(*(ids[:-1] for ids in given))
        backbone = self.shared.mplus.backbone
        if given[0] != list(prompts[0]) or backbone.rope.changing:
            begin = 0  # cut off, or with other frequencies where more stands behind it
        found = []
        with under(backbone, self.lora):
            stock, cache = backbone.model, self._begun(given[0][: min(begin, alike)])
            rest = given[0][cache.get_seq_length() : alike]
            if rest:
                stock(self._tensor(rest), past_key_values=cache, use_cache=True, logits_to_keep=1)
            for one in given:
                new = self._tensor(one[alike:])
                output = stock(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
                found.append(output.logits[0, -1].float().log_softmax(dim=-1))
                cache.crop(-new.shape[1])
        return found

    def _begun(self, ids: Sequence[int]) -> Any:
        """A cache of these tokens, to go on with; those that were needed last are kept."""
        key = tuple(ids)
        if not key:
            return TextCache().begun(0)
        if key not in self._known:
            model = self.shared.mplus.backbone.model
            read = model(self._tensor(ids), use_cache=True, logits_to_keep=1)
            self._known[key] = TextCache.of(key, read.past_key_values)
            while sum(map(len, self._known)) > self.shared.mplus.positions:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key].begun(len(key))

    @torch.no_grad()
    def vector(self, ids: Sequence[int]) -> Tensor:
        """[d] of a text: the mean over its tokens of the middle layer's outputs, in float32.

        Args:
            ids: of the text, at least one.
        """
        backbone = self.shared.mplus.backbone
        given = self._tensor(self._end(ids, 0))
        with under(backbone, None):
            output = backbone.decoder(given, output_hidden_states=True, use_cache=False)
        hidden: Tensor = output.hidden_states[len(backbone.layers) // 2][0]
        return hidden.float().mean(dim=0).cpu()

    def _end(self, ids: Sequence[int], new: int) -> list[int]:
        """As much of the end of a prompt as there are positions for beside new tokens.

        Raises:
            PositionsError: there is none for any of it.
        """
        positions = self.shared.mplus.positions
        if positions <= new:
            raise PositionsError(needed=new + 1, available=positions)
        return list(ids)[-(positions - new) :]

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        """[1, T]."""
        return torch.tensor([list(ids)], device=self.shared.mplus.device)
