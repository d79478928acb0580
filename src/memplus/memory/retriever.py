"""The learned parts of a memory and the retriever's arithmetic.

Tensors only: nothing here has heard of a language model.

Shapes: L layers, d hidden size, R retriever width, T prompt tokens, n stored rows, M retrieved,
... any dimensions of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memplus.config import MemoryConfig
from memplus.memory.superseding import FEATURES

__all__ = [
    "LayerRetriever",
    "MemoryWeights",
    "behind_best",
    "best_first",
    "directions",
    "mean_match",
    "oldest_first",
    "retrieval_scores",
    "sharpened",
    "span_matches",
    "with_neighbours",
]

_BLOCK = 16_384
"""Rows scored at a time for one prompt."""
_MATCHES = 1 << 21
"""Of tokens and rows, computed at a time for many."""
_WEIGHT = 32.0
"""Scale of ``span_weights``: they are of the size of other weights, so that they learn as fast."""
_SHARPNESS = 1.5
"""The power of ``sharpened``; LOG.md compares three."""


class LayerRetriever(nn.Module):
    """f_q and f_k of one layer (M+ section 3.3): Linear-SiLU-Linear without bias, or one Linear."""

    center: nn.Parameter | None
    """[d]: taken from what is projected, where spans are retrieved; else None."""
    scale: nn.Parameter | None
    """[d]: what is left is multiplied by it. Hidden states of pretrained decoders have much in
    common, and keys that are compared by their direction would all point the same way."""

    def __init__(self, hidden_size: int, config: MemoryConfig) -> None:
        super().__init__()
        self.query_proj = _projection(hidden_size, config)
        self.key_proj = _projection(hidden_size, config)
        spans = config.retrieves_spans
        self.center = nn.Parameter(torch.zeros(hidden_size)) if spans else None
        self.scale = nn.Parameter(torch.ones(hidden_size)) if spans else None

    def queries(self, hidden: Tensor) -> Tensor:
        """f_q of a layer's normed inputs: [..., d] -> [..., R]."""
        found: Tensor = self.query_proj(self._standard(hidden))
        return found

    def keys(self, rows: Tensor) -> Tensor:
        """f_k of a layer's normed rows: [..., d] -> [..., R]."""
        found: Tensor = self.key_proj(self._standard(rows))
        return found

    @torch.no_grad()
    def begin(self, rows: Tensor) -> None:
        """Begin with the mean and the spread of a layer's normed rows [n, d], and as a likeness.

        Queries and keys start with the same projection, so that before any training a token of a
        prompt looks for rows that are like it, which finds most of what is asked for.
        """
        assert self.center is not None
        assert self.scale is not None
        self.query_proj.load_state_dict(self.key_proj.state_dict())
        self.center.copy_(rows.float().mean(dim=0))
        self.scale.copy_(1 / (rows.float().std(dim=0) + 1e-3))

    def _standard(self, hidden: Tensor) -> Tensor:
        if self.center is None or self.scale is None:
            return hidden
        return (hidden - self.center) * self.scale


def _projection(hidden_size: int, config: MemoryConfig) -> nn.Module:
    if config.retriever_layers == 1:
        return nn.Linear(hidden_size, config.retriever_dim, bias=False)
    middle = max(1, hidden_size // 2)
    return nn.Sequential(
        nn.Linear(hidden_size, middle, bias=False),
        nn.SiLU(),
        nn.Linear(middle, config.retriever_dim, bias=False),
    )


class MemoryWeights(nn.Module):
    """What M+ learns beside the decoder: bos, the memory embedding, the retriever."""

    bos_embedding: nn.Parameter | None
    """[L, 1, d]: the row at position 0 of every layer."""
    memory_embedding: nn.Parameter
    """[1, 1, d]: added to the rows that become memory (``new_memory_positional_emb``)."""
    retriever: nn.ModuleList | None
    span_weights: nn.Parameter | None
    """[L]: how much scores of spans weigh their rows in each layer; None where they do not."""
    superseding: nn.Parameter | None
    """[F + 1]: weights and bias of the rule of ``memory.superseding``; at zero, as it begins, no
    span is replaced. None where none ever is. No row depends on it."""

    def __init__(self, layers: int, hidden_size: int, config: MemoryConfig) -> None:
        super().__init__()
        self.bos_embedding = (
            nn.Parameter(torch.randn(layers, 1, hidden_size) * 0.02) if config.bos else None
        )
        self.memory_embedding = nn.Parameter(torch.randn(1, 1, hidden_size) * 0.02)
        config.stored_layers(layers)  # refuses those that are not there
        self.retrieving: range = config.retrieving_layers(layers)
        """Layers that have a retriever."""
        self.retriever = (
            nn.ModuleList(LayerRetriever(hidden_size, config) for _ in self.retrieving)
            if config.has_long_term
            else None
        )
        self.span_weights = (
            nn.Parameter(torch.full((layers,), 0.1)) if config.weighs_spans else None
        )
        self.superseding = (
            nn.Parameter(torch.zeros(len(FEATURES) + 1)) if config.supersedes_spans else None
        )

    def measured(self) -> list[nn.Parameter]:
        """Weights that are measured of rows, or fitted to a finished model, and not learned."""
        found = [] if self.retriever is None else list(self.retriever.children())
        parts = [(one.center, one.scale) for one in found if isinstance(one, LayerRetriever)]
        weights = [weight for pair in parts for weight in pair] + [self.superseding]
        return [weight for weight in weights if weight is not None]

    def span_bias(self, layer: int, behind: Tensor) -> Tensor:
        """What one layer adds to the attention scores of the rows of spans; differentiable.

        Args:
            layer: which layer reads.
            behind: [..., n] of the rows before it, from ``behind_best``.

        Returns:
            [..., n]: 0 at the best span's rows, and the less the further a span is from it.
        """
        assert self.span_weights is not None
        return _WEIGHT * self.span_weights[layer] * behind

    def layer_retriever(self, layer: int) -> LayerRetriever:
        """The retriever of one layer; only where the config has a long-term memory."""
        assert self.retriever is not None
        module = self.retriever[self.retrieving.index(layer)]
        assert isinstance(module, LayerRetriever)
        return module


def retrieval_scores(queries: Tensor, keys: Tensor, share: Tensor | None = None) -> Tensor:
    """Mean over the prompt's tokens of sigmoid(f_q . f_k) (M+ section 3.3); differentiable.

    Args:
        queries: [..., T, R], of prompt tokens only: no tail, no padding.
        keys: [..., n, R], as stored, or [n, R] for the whole batch.
        share: [..., T] what each token counts, where prompts of a batch differ in length: 0 at
            padding, 1 together; None counts all tokens alike.

    Returns:
        [..., n], float32 except inside autocast.
    """
    if queries.dim() == 2 and share is None:
        return _scores_of_one(queries, keys)
    # Block by block, so that the matches of many prompts stay in the cache.
    asked, tokens = queries.float(), max(1, queries[..., 0].numel())
    rows = keys.shape[-2] if keys.is_cuda else _MATCHES // tokens
    found = [
        mean_match((asked @ block.float().transpose(-1, -2)).sigmoid_(), share)
        for block in keys.split(max(1, rows), dim=-2)
    ]
    return torch.cat(found, dim=-1)


def _scores_of_one(queries: Tensor, keys: Tensor) -> Tensor:
    """[n] scores for one prompt [T, R].

    Rows first: the product with a long, thin result is quicker that way round; block by block, so
    that it stays in the cache and a million rows need no pages for it.
    """
    asked = queries.float().transpose(0, 1).contiguous()
    if torch.is_grad_enabled() and (asked.requires_grad or keys.requires_grad):
        return torch.sigmoid(keys.float() @ asked).mean(dim=1)
    scores = keys.new_empty(len(keys), dtype=torch.float32)
    for start in range(0, len(keys), _BLOCK):
        block = slice(start, start + _BLOCK)
        torch.mean(torch.sigmoid_(keys[block].float() @ asked), dim=1, out=scores[block])
    return scores


def behind_best(scores: Tensor, span: int) -> Tensor:
    """How far each row's span lies below the best one, at most 0; differentiable.

    Args:
        scores: [..., S] of the spans that a read has before it.
        span: rows of a span, s.

    Returns:
        [..., S * s], the same in every layer.
    """
    behind = scores - scores.amax(dim=-1, keepdim=True)
    return behind.repeat_interleave(span, dim=-1)


def directions(keys: Tensor) -> Tensor:
    """Keys [..., n, R] at unit length, in float32: worked out once for many prompts."""
    unit: Tensor = nn.functional.normalize(keys.float(), dim=-1)
    return unit


def span_matches(queries: Tensor, unit: Tensor, span: int) -> Tensor:
    """How well each token of a prompt matches each span; differentiable.

    Late interaction: every token looks for the row that suits it best. Keys are compared by their
    direction; the length of a query says how much its token counts. A span's score is the mean over
    the tokens (``mean_match``).

    Args:
        queries: [..., T, R], of prompt tokens only: no tail, no padding.
        unit: [..., n, R], the ``directions`` of the keys; n is whole spans.
        span: consecutive rows that make a span, s.

    Returns:
        [..., T, n / s] the best match of each token among a span's rows, float32 except inside
        autocast.
    """
    matches = queries.float() @ unit.transpose(-1, -2)
    best: Tensor = matches.unflatten(-1, (-1, span)).amax(dim=-1)
    return best


def sharpened(matches: Tensor, stored: int, share: Tensor | None = None) -> Tensor:
    """Scores of spans in which one token that matches far better outdoes many that do a little.

    Args:
        matches: [..., T, S] from ``span_matches``.
        stored: how many of the S, the first ones, tell what a token matches on average.
        share: [..., T] what each token counts, as in ``retrieval_scores``; None: all alike.

    Returns:
        [..., S]: the mean over the tokens of what each matches above that, to the power of 1.5.
    """
    average = matches[..., :stored].mean(dim=-1, keepdim=True)
    return mean_match((matches - average).clamp(min=0).pow(_SHARPNESS), share)


def best_first(scores: Tensor, count: int) -> Tensor:
    """[count] places of the best scores [S], the best first; of equals, as of two spans that take
    one and the same place, the one that was dropped first."""
    return scores.sort(descending=True, stable=True).indices[:count]


def with_neighbours(scores: Tensor, births: Tensor, span: int, count: int) -> Tensor:
    """The best spans, each followed by its better neighbour, until there are enough.

    Text goes on from one write to the next, and so do births: neighbours are a span apart.

    Args:
        scores: [S] of all spans; one of minus infinity is nobody's neighbour.
        births: [S] of one row of each, the same one in all.
        span: rows of a span.
        count: at most S.

    Returns:
        [count] indices of spans, in the order in which they were taken.
    """
    taken: list[int] = []
    for best in best_first(scores, count).tolist():
        if best in taken:
            continue
        taken.append(best)
        far = (births - births[best]).abs() != span
        beside = scores.masked_fill(far, -torch.inf)
        beside[taken] = -torch.inf
        score, place = beside.max(dim=0)
        if not score.isneginf():
            taken.append(int(place))
    return torch.tensor(taken[:count], dtype=torch.int64, device=scores.device)


def mean_match(matches: Tensor, share: Tensor | None) -> Tensor:
    """[..., T, n] -> [..., n]: what the prompt's tokens say together."""
    if share is None:
        mean: Tensor = matches.mean(dim=-2)
        return mean
    weighed: Tensor = share[..., None, :].to(matches.dtype) @ matches
    return weighed[..., 0, :].float()


def oldest_first(selected: Tensor, birth: Tensor) -> Tensor:
    """Order retrieved rows by age, oldest first; among equal ages the higher index comes first.

    Args:
        selected: [M] indices into the long-term rows, in any order.
        birth: [n] clock at which each stored row was made.

    Returns:
        [M] the same indices in reading order.
    """
    descending = selected.sort(descending=True).values
    return descending[birth[descending].sort(stable=True).indices]
