"""Vectors of phrases: means of the model's own hidden states.

RET-LLM (2305.14322) averages the model's representations over a text's tokens and does not say of
which layer. The last one serves badly on a small decoder: its vectors of different names are nearly
the same, and what a decoder's first token holds is not about the phrase at all. So a line break
stands before the phrase and is not counted, the first layers alone run, and the mean vector of many
phrases is taken away; docs/paper-map.md has the figures.

Shapes: n texts, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from memplus.backbone.lower_layers import hidden_after
from memplus.data.note_parts import PERSON_ATTRIBUTES
from memplus.data.relations import RELATIONS, make_organisations, make_people
from memplus.mplus.core import Core
from memplus.mplus.encoding import encode_each

__all__ = ["PhraseVectors"]

_LEAD = "\n"
_SEED = 5
_PEOPLE, _FIRMS = 100, 60


class PhraseVectors:
    """Makes a vector of unit length of each phrase.

    Args:
        core: the model; its memory and adapters take no part.
        layers: how many of its layers run.
    """

    def __init__(self, core: Core, layers: int = 2) -> None:
        self.core = core
        self.layers = layers

    @cached_property
    def centre(self) -> Tensor:
        """[d]: the mean over phrases that are made up by rule, the same for ever."""
        random = Random(_SEED)
        phrases = make_people(random, _PEOPLE, "train")
        phrases += make_organisations(random, _FIRMS, "train")
        phrases += [name for name, _ in PERSON_ATTRIBUTES] + [one.name for one in RELATIONS]
        return self._means(phrases).mean(dim=0)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[n, d] float32 on the CPU; each text is read alone, whatever others stand beside it.

        Raises:
            TokenizerMissingError: the model has no tokenizer.
        """
        if not texts:
            return torch.zeros(0, self.core.backbone.hidden_size)
        return functional.normalize(self._means(texts) - self.centre, dim=-1)

    def _means(self, texts: Sequence[str]) -> Tensor:
        (lead, _), *found = encode_each(self.core.tokenizer, [_LEAD, *texts])
        return torch.stack([self._mean(lead, ids) for ids, _ in found])

    def _mean(self, lead: list[int], ids: list[int]) -> Tensor:
        if not ids:
            return torch.zeros(self.core.backbone.hidden_size)
        given = torch.tensor([[*lead, *ids]], device=self.core.device)
        hidden = hidden_after(self.core.backbone, given, self.layers)
        return hidden[0, len(lead) :].float().mean(dim=0).cpu()
