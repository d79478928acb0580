"""Which spans a later one replaces: what was told once and has been corrected since.

Both versions of a corrected thing match a question about it, the earlier one often better, since
it was told in the words of the question. How the two match it tells that the later one speaks of
the same: a logistic rule over a few numbers that the retriever's own keys give, fitted once to a
finished model (``memplus.training.superseding``). A span that is called replaced is not read.

Tensors only: nothing here has heard of a language model.

Shapes: T prompt tokens, R retriever width, C spans that are compared, s rows of a span, F features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["COMPARED", "FEATURES", "LEAST", "lifted", "logits", "pair_features", "replaced"]

FEATURES = (
    "likeness where the question looks",
    "likeness around it",
    "what the later one lacks",
    "height of the pair",
    "lead over all others",
    "agreement of the matches",
    "nearness in the text",
)
"""What the rule weighs, in the order of ``pair_features``."""
COMPARED = 4
"""Spans of a read that are compared with each other: those that suit the question best."""
_THRESHOLD = 0.7
"""How likely it must be by the rule that a span is replaced."""
LEAST = math.log(_THRESHOLD / (1 - _THRESHOLD))
"""The logit of that: spans above it are replaced."""
_AROUND = 8
"""Rows before and after the one that the question's middle token matches."""


def pair_features(queries: Tensor, unit: Tensor, births: Tensor) -> Tensor:
    """What tells whether one span replaces another for a question.

    Args:
        queries: [T, R] f_q of the prompt's tokens; the length of each says what it counts.
        unit: [C, s, R] directions of the spans' keys.
        births: [C] of these spans.

    Returns:
        [C, C, F] of earlier span i and later span j, in the order of ``FEATURES``: the mean cosine
        of the keys that each token matches best in i and in j, by the lengths of the queries; that
        of the rows around the middle match of i to the most alike of j; how much less j matches
        than i, as a mean, where it does; how far the lower score of both lies below the best, and
        above the best of the other spans (0 where there is none); the correlation of both spans'
        matches over the tokens; and 1 over how many spans j was made after i, since parts of one
        passage, which go on with each other, lie side by side. Float32.
    """
    queries = queries.float()
    spans, size = unit.shape[:2]
    found, place = (queries @ unit.flatten(0, 1).T).unflatten(-1, (spans, size)).max(dim=-1)
    matched = unit[torch.arange(spans, device=unit.device), place]
    cosines = matched @ matched.transpose(-1, -2)
    lengths = queries.norm(dim=-1)
    likeness = (lengths / lengths.sum()) @ cosines.flatten(1)
    middle = place.sort(dim=0).values[(len(place) - 1) // 2]  # of an even number the lower one
    nearest = (unit[:, None] @ unit.transpose(-1, -2)).amax(dim=-1)  # [i, j, row of i]
    first = (middle - _AROUND).clamp(min=0)[:, None]
    row = torch.arange(size, device=unit.device)
    near = ((row >= first) & (row < first + 2 * _AROUND)).float()
    around = (nearest * near[:, None]).sum(dim=-1) / near.sum(dim=-1)[:, None]
    scores = found.mean(dim=0)
    lower = torch.minimum(scores[:, None], scores)
    spread = nn.functional.normalize(found - scores, dim=0)
    features = (
        likeness.view(spans, spans),
        around,
        (found[:, :, None] - found[:, None]).clamp(min=0).mean(dim=0),
        lower - scores.max(),
        lower - _best_other(scores),
        spread.T @ spread,
        size / (births[:, None] - births).abs().clamp(min=size).float(),
    )
    return torch.stack(features, dim=-1)


def _best_other(scores: Tensor) -> Tensor:
    """[C, C]: the best of the scores [C] that are of neither span; 0 where there is none."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    of_pair = own[:, None] | own[None]
    best = scores.expand(of_pair.shape).masked_fill(of_pair, -torch.inf).amax(dim=-1)
    return best.masked_fill(best.isneginf(), 0)


def logits(rule: Tensor, features: Tensor) -> Tensor:
    """How likely pairs are by a rule [F + 1]: [..., F] features to [...] logits, in their dtype."""
    weights = rule.to(features.dtype)
    return features @ weights[:-1] + weights[-1]


def replaced(rule: Tensor, queries: Tensor, unit: Tensor, births: Tensor) -> Tensor:
    """Which spans of a read replace which.

    Args:
        rule: [F + 1] weights of the features, and the bias.
        queries: [T, R] f_q of the prompt's tokens.
        unit: [C, s, R] directions of the keys of the spans that suit it best.
        births: [C] of these spans; no two are alike.

    Returns:
        [C, C] true where span i is replaced by span j, which is always the later one.
    """
    likely = logits(rule, pair_features(queries, unit, births)) > LEAST
    return likely & (births[:, None] < births)


def lifted(scores: Tensor, places: Tensor, pairs: Tensor) -> Tensor:
    """Scores by which a read chooses among spans: what replaces another one takes its place.

    So the later span is read wherever the earlier one would have been, also where it replaces that
    one by way of a third.

    Args:
        scores: [S] of all spans.
        places: [C] which of them were compared.
        pairs: [C, C] of these, from ``replaced``.

    Returns:
        [S]: minus infinity of those that are replaced.
    """
    own, directly = scores[places], pairs
    for _ in range(len(places) - 2):  # steps beyond the first that the longest way may have
        pairs = pairs | (pairs.float() @ directly.float() > 0)
    taken = own[:, None].masked_fill(~pairs, -torch.inf).amax(dim=0)
    higher = torch.maximum(own, taken).masked_fill(pairs.any(dim=1), -torch.inf)
    return scores.scatter(0, places, higher)
