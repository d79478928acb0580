"""All that SCM asks of a model: to go on with a prompt, which words follow, and text vectors.

The decoder is used without any memory of M+. Answers may be read under M+'s read adapter; all else
is the plain base's, or that of an update trained for the controller.

Shapes: T tokens, V vocabulary, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

from memplus.backbone.lora import Lora, under
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

    def answer(self, ids: Sequence[int], most: int) -> Reply:
        """What is generated after a prompt, greedily.

        Args:
            ids: of the prompt.
            most: new tokens.
        """
        return answer_from_prompt(self.shared, self._end(ids, most), most, alone=self.alone)

    @torch.no_grad()
    def next_words(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """The log-probabilities [V] of what follows each prompt; what all begin with is read once.

        Args:
            prompts: token ids.
        """
        given = [self._end(ids, 1) for ids in prompts]
        alike = _in_common(given)
        backbone = self.shared.mplus.backbone
        found = []
        with under(backbone, self.lora):
            stock, cache = backbone.model, None
            if alike:
                start = self._tensor(given[0][:alike])
                cache = stock(start, use_cache=True, logits_to_keep=1).past_key_values
            for one in given:
                rest = self._tensor(one[alike:])
                output = stock(rest, past_key_values=cache, use_cache=True, logits_to_keep=1)
                found.append(output.logits[0, -1].float().log_softmax(dim=-1))
                if cache is not None:
                    cache.crop(-rest.shape[1])
        return found

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
        """As much of the end of a prompt as there are positions for beside new tokens."""
        return list(ids)[-(self.shared.mplus.positions - new) :]

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        """[1, T]."""
        return torch.tensor([list(ids)], device=self.shared.mplus.device)


def _in_common(prompts: Sequence[Sequence[int]]) -> int:
    """With how many equal tokens all begin, the last of each left out."""
    shortest = min(len(ids) for ids in prompts) - 1
    columns = zip(*(ids[:shortest] for ids in prompts))
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
