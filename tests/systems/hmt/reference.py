"""HMT step by step, as the paper's section 3 says it: slow, one text, nothing kept but vectors.

It knows weights and a stock model, and nothing of the package.

Shapes: T tokens, n cached vectors, d hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Weights:
    """What HMT adds to a decoder."""

    initial: Tensor
    """M0 [d]."""
    summary_prompt: Tensor
    """T [d]."""
    query: Tensor
    """Wq [e, d]."""
    key: Tensor
    """Wk [e, d]."""


@dataclass(frozen=True)
class Sizes:
    segment: int
    sensory: int
    cache: int
    fraction: float = 0.5
    retrieval: bool = True


@dataclass
class Reference:
    """One text, read by a stock model."""

    model: PreTrainedModel
    weights: Weights
    sizes: Sizes
    cache: list[Tensor] = field(default_factory=list)
    """n vectors [d], oldest first."""
    sensory: list[int] = field(default_factory=list)

    def decoded(self, *slots: Tensor) -> Tensor:
        """[T, d] what the decoder makes of inputs, after its final norm."""
        inputs = torch.cat(slots)[None]
        output: Tensor = self.model.get_decoder()(inputs_embeds=inputs, use_cache=False)[0][0]
        return output

    def embedded(self, ids: Sequence[int]) -> Tensor:
        """[T, d]."""
        vectors: Tensor = self.model.get_input_embeddings()(torch.tensor(ids, dtype=torch.int64))
        return vectors

    def summary(self, ids: Sequence[int]) -> Tensor:
        """S_n [d] of a segment."""
        half = round(self.sizes.fraction * self.sizes.segment)
        prompt = self.weights.summary_prompt[None]
        return self.decoded(prompt, self.embedded(ids[:half]), prompt)[-1]

    def weighed(self, summary: Tensor) -> Tensor:
        """[n] how much each cached vector counts."""
        query = self.weights.query @ summary
        scores = [query @ (self.weights.key @ one) for one in self.cache]
        return (torch.stack(scores) / len(query) ** 0.5).softmax(dim=0)

    def vector(self, ids: Sequence[int]) -> Tensor:
        """P_n [d], before a segment is read."""
        if not self.cache:
            return self.weights.initial
        if not self.sizes.retrieval:
            return self.cache[-1]
        weights = self.weighed(self.summary(ids))
        mean = torch.zeros_like(self.weights.initial)
        for weight, one in zip(weights, self.cache, strict=True):
            mean = mean + weight * one
        return mean

    def read(self, ids: Sequence[int]) -> Tensor:
        """[T, d] of a segment; nothing is kept."""
        before = self.vector(ids)[None]
        return self.decoded(before, self.embedded([*self.sensory, *ids]))[1 + len(self.sensory) :]

    def write(self, ids: Sequence[int]) -> Tensor:
        """[T, d] of a segment, of which a vector is kept."""
        vector = self.vector(ids)[None]
        hidden = self.decoded(vector, self.embedded([*self.sensory, *ids]), vector)
        self.cache = [*self.cache, hidden[-1]][-self.sizes.cache :]
        start = 1 + len(self.sensory)
        self.sensory = list(ids)[-self.sizes.sensory :] if self.sizes.sensory else []
        return hidden[start:-1]

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, V]."""
        head: Tensor = self.model.get_output_embeddings()(hidden)
        return head

    def generated(self, ids: Sequence[int], count: int) -> list[int]:
        """The most likely tokens behind a segment that is never longer than it may be."""
        vector, said = self.vector(ids)[None], list[int]()
        for _ in range(count):
            text = self.embedded([*self.sensory, *ids, *said])
            said.append(int(self.logits(self.decoded(vector, text)[-1]).argmax()))
        return said
