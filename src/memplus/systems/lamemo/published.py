"""The published model: a small Transformer-XL whose memory looks ahead, trained from nothing.

A reference for what the paper computes, and a model of its own. It is no stock decoder: relative
encoding, norms behind each half of a layer (or before it), ReLU, input and output embeddings
shared. Dropout and the adaptive softmax are left out.

Shapes: B batch, T tokens, V vocabulary, d width, H heads, D head width, L layers, m remembered
positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from memplus.systems.lamemo.layer_step import Blend, LayerStep, Projected, Sight, layer_step
from memplus.systems.lamemo.relative import Biases, RelativeScoring, sinusoids
from memplus.systems.lamemo.window import Sizes, Window, empty_window, moved

__all__ = ["Passed", "PublishedLaMemo", "PublishedSizes"]


@dataclass(frozen=True)
class PublishedSizes:
    """Of the model; the defaults are the small one that a few hours of a CPU can train."""

    vocabulary: int
    layers: int = 4
    heads: int = 4
    width: int = 256
    """d."""
    head_width: int = 64
    """D."""
    inner: int = 1024
    """Width of the MLP."""
    memory: int = 128
    """M."""
    norm_first: bool = False
    """Norms before attention and MLP; without: behind the residual, as in the paper."""
    clamp: int | None = None
    """Larger distances count as this one."""
    blend: Blend = field(default_factory=Blend)


class Passed(NamedTuple):
    """What a pass gives."""

    hidden: Tensor
    """[B, T, d] of the segment."""
    window: Window
    """The state behind it, without a graph."""
    memory: Tensor
    """[B, m, d] the remembered positions behind the last layer (Y)."""
    layers: list[Tensor]
    """[B, m + T, d] each, what layers 0 .. L-1 put out."""
    steps: list[LayerStep]


class PublishedLaMemo(nn.Module):
    """The model.

    Args:
        sizes: of it.
    """

    def __init__(self, sizes: PublishedSizes) -> None:
        super().__init__()
        self.sizes = sizes
        heads = (sizes.heads, sizes.head_width)
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers))
        self.content = nn.Parameter(torch.zeros(heads))
        """u."""
        self.left = nn.Parameter(torch.zeros(heads))
        """v."""
        if sizes.blend.lookahead:
            self.right = nn.Parameter(torch.zeros(heads))
            """v'."""
        self.output_bias = nn.Parameter(torch.zeros(sizes.vocabulary))
        steps = torch.arange(0, sizes.width, 2) / sizes.width
        self.register_buffer("frequencies", 1 / 10000**steps)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    @property
    def window_sizes(self) -> Sizes:
        """Of its state."""
        ours = self.sizes
        return Sizes(ours.memory, ours.layers, ours.heads, ours.head_width, ours.width)

    def empty(self, rows: int) -> Window:
        """The state before anything was read, for so many texts."""
        return empty_window(self.window_sizes, rows, self.embedding.weight)

    def forward(self, window: Window, ids: Tensor) -> Passed:
        """Read a segment.

        Args:
            window: the state before it.
            ids: [B, T].
        """
        embedded = self.embedding(ids) * self.sizes.width**0.5
        hidden = embeddings = torch.cat([window.embeddings, embedded], dim=1)
        known = sinusoids(hidden.shape[1], self.get_buffer("frequencies"))
        biases = Biases(self.content, self.left, getattr(self, "right", self.left))
        given = _Given(window.sight(ids.shape[1]), known, biases)
        outputs, steps = [], []
        for index, layer in enumerate(self.layers):
            hidden, step = layer(window, index, hidden, given)
            outputs.append(hidden)
            steps.append(step)
        after = moved(window, embeddings, steps, self.sizes.memory)
        count = window.count
        return Passed(hidden[:, count:], after, hidden[:, :count], outputs, steps)

    def logits(self, hidden: Tensor) -> Tensor:
        """[B, T, d] -> [B, T, V]."""
        return functional.linear(hidden, self.embedding.weight, self.output_bias)

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Of each prediction, in nats: [B, T, d] and [B, T] -> [B, T]."""
        found = self.logits(hidden).flatten(0, 1)
        return functional.cross_entropy(found, targets.flatten(), reduction="none").view_as(targets)


class _Given(NamedTuple):
    """What all layers of a pass share."""

    sight: Sight
    known: Tensor
    """[m + T, d] sinusoids of the distances."""
    biases: Biases


class _Layer(nn.Module):
    """Attention to both sides and an MLP, for remembered positions and segment alike."""

    def __init__(self, sizes: PublishedSizes) -> None:
        super().__init__()
        self.sizes = sizes
        across = sizes.heads * sizes.head_width
        self.query = nn.Linear(sizes.width, across, bias=False)
        self.key = nn.Linear(sizes.width, across, bias=False)
        self.value = nn.Linear(sizes.width, across, bias=False)
        self.distance = nn.Linear(sizes.width, across, bias=False)
        self.out = nn.Linear(across, sizes.width, bias=False)
        self.attention_norm = nn.LayerNorm(sizes.width)
        self.mlp = nn.Sequential(
            nn.Linear(sizes.width, sizes.inner), nn.ReLU(), nn.Linear(sizes.inner, sizes.width)
        )
        self.mlp_norm = nn.LayerNorm(sizes.width)

    def forward(
        self, window: Window, index: int, hidden: Tensor, given: _Given
    ) -> tuple[Tensor, LayerStep]:
        """[B, m + T, d] -> the same, and what attention made of it."""
        normed = self.attention_norm(hidden) if self.sizes.norm_first else hidden
        projected = Projected(*(self._heads(one(normed)) for one in self._projections()))
        distances = self.distance(given.known).unflatten(-1, (self.sizes.heads, -1))
        scoring = RelativeScoring(distances, given.biases, self.sizes.clamp)
        blend = self.sizes.blend
        step = layer_step(window.layer(index), projected, scoring, given.sight, blend)
        hidden = hidden + self.out(step.remembered.context.flatten(2))
        if self.sizes.norm_first:
            hidden = hidden + self.mlp(self.mlp_norm(hidden))
        else:
            hidden = self.attention_norm(hidden)
            hidden = self.mlp_norm(hidden + self.mlp(hidden))
        if not blend.lookahead:  # memory that stays as it was is no way for gradients
            count = window.count
            hidden = torch.cat([hidden[:, :count].detach(), hidden[:, count:]], dim=1)
        return hidden, step

    def _projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.query, self.key, self.value

    def _heads(self, states: Tensor) -> Tensor:
        """[B, P, H * D] -> [B, H, P, D]."""
        heads: Tensor = states.unflatten(-1, (self.sizes.heads, -1))
        return heads.transpose(1, 2)
