"""Perplexity of plain text with a full memory, against the same weights without.

Shapes: T tokens of a window, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from memplus.data.stream import Stream, Texts
from memplus.errors import ConfigError
from memplus.evaluation.tasks.retention import other_notes, read_among_others

if TYPE_CHECKING:
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus

__all__ = ["Perplexities", "Windows", "measure_perplexity"]

FULL, SHORT, BLANK, NONE = "M+", "MemoryLLM", "told nothing", "no memory"

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Windows:
    """Which text is predicted."""

    count: int = 64
    length: int = 256
    """Tokens of each; the first is not predicted."""


@dataclass(frozen=True, slots=True)
class Perplexities:
    """Perplexity of the same windows by what stood before them."""

    tokens_in_memory: int
    predicted: int
    """Tokens."""
    perplexity: dict[str, float]
    """``M+``, ``MemoryLLM``, ``told nothing`` (a new memory), ``no memory`` (the bare model)."""
    over_none: dict[str, tuple[float, float, float]]
    """Each over ``no memory``: ratio and its 95% interval, from the spread over the windows."""


def measure_perplexity(
    model: MPlus,
    texts: Texts,
    *,
    tokens: int,
    windows: Windows,
    seed: int,
    report: Report,
) -> Perplexities:
    """Write text with notes in it, then predict windows of other text.

    Args:
        model: as loaded.
        texts: a part is predicted, another written.
        tokens: to write.
        windows: to predict.
        seed: of the memory and the places in the text.
        report: called with (what, done, total).

    Raises:
        ConfigError: the texts are too short for both.
    """
    wanted = windows.count * windows.length
    if texts.tokens < wanted + tokens:
        reason = f"with the windows it takes {wanted + tokens}, the texts have {texts.tokens}"
        raise ConfigError("tokens", value=tokens, reason=reason)
    stream = Stream(texts, seed, "text")
    stream.read_to(wanted)
    unread, stream.ids = stream.ids, []
    read_among_others(stream, tokens, other_notes(seed, set()))
    memory = model.new_memory(seed)
    model.write(memory, stream.ids, progress=lambda done, of: report("reading", done, of))
    variants: dict[str, Memory | None] = {FULL: memory} if memory.config.has_long_term else {}
    variants |= {SHORT: memory.short_term_only(), BLANK: model.new_memory(seed), NONE: None}
    losses: dict[str, list[float]] = {name: [] for name in variants}
    for index in range(windows.count):
        start = index * windows.length
        ids = torch.tensor([unread[start : start + windows.length]])
        for name, variant in variants.items():
            losses[name].append(_loss(model, ids, variant))
        report("predicting", index + 1, windows.count)
    return Perplexities(
        tokens_in_memory=memory.tokens,
        predicted=windows.count * (windows.length - 1),
        perplexity={name: math.exp(fmean(found)) for name, found in losses.items()},
        over_none={name: _over(found, losses[NONE]) for name, found in losses.items()},
    )


@torch.no_grad()
def _loss(model: MPlus, ids: Tensor, memory: Memory | None) -> float:
    """Mean negative log likelihood of the tokens [1, T] after the first."""
    logits = model(ids, memory=memory).logits[0, :-1].float()
    return float(cross_entropy(logits, ids[0, 1:].to(logits.device)))


def _over(losses: Sequence[float], none: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of two perplexities and its 95% interval, the windows being a sample."""
    apart = [one - other for one, other in zip(losses, none, strict=True)]
    middle = fmean(apart)
    spread = 1.96 * stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else math.inf
    return math.exp(middle), math.exp(middle - spread), math.exp(min(700.0, middle + spread))
