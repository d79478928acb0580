"""From a finished model to the same model with a rule for spans that later ones replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from memplus.config import SpanRetrieval
from memplus.data.passages import PassageQuestions, Split, read_passages
from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.memory.retriever import MemoryWeights
from memplus.memory.superseding import FEATURES
from memplus.mplus.model import MPlus
from memplus.systems.shared import Shared
from memplus.training.engine.saving import made_over
from memplus.training.superseding.fit import Told, cross_validated, fit_rule, told_apart
from memplus.training.superseding.pairs import Pairs, collect_alone, collect_pairs
from memplus.training.superseding.told import held_out_items, passage_items, training_items

__all__ = ["Fitted", "Telling", "fit_superseding", "with_rule"]

Report = Callable[[str, int, int], None]
"""Called with (what, done, of how many)."""


@dataclass(frozen=True)
class Telling:
    """What is told and asked."""

    streams: int = 5
    """Memories that are told something, each something else."""
    items: int = 40
    """Corrections, statements, made-up facts and passages of a stream, at most so many of each."""
    distances: tuple[int, ...] = (0, 1000, 4000)
    """Tokens read after the last thing told, before everything is asked; rising."""
    seed: int = 0
    """Of everything drawn."""
    passages: tuple[Path, ...] = ()
    """Files of passages with questions (SQuAD, Natural Questions, FairytaleQA). Without them the
    rule knows no text that is longer than a span, and takes parts of one for corrections."""


@dataclass(frozen=True)
class Fitted:
    """A model with a rule, and how well that tells pairs of spans apart."""

    model: MPlus
    fitted: Told
    """Pairs that it was fitted to."""
    cross_validated: Told | None
    """The same pairs, each told by a rule fitted to those of other questions; None where they are
    too few for that."""
    held_out: Told
    """Pairs of held-out topics, by which nothing was chosen."""

    def to_dict(self) -> dict[str, Any]:
        """All figures, and the rule by the names of its features, as plain JSON values."""
        rule = self.model.weights.superseding
        assert rule is not None
        names = [*FEATURES, "bias"]
        told = {name: getattr(self, name) for name in ("fitted", "cross_validated", "held_out")}
        figures = {name: None if one is None else asdict(one) for name, one in told.items()}
        return {"rule": dict(zip(names, rule.tolist(), strict=True)), **figures}


def fit_superseding(
    model: MPlus,
    texts: Sequence[str],
    telling: Telling,
    report: Report = lambda what, done, total: None,
) -> Fitted:
    """Fit the rule to what a model's own keys tell of training topics.

    Args:
        model: retrieves spans; it stays as it is.
        texts: running text that things are told in.
        telling: what, and how much of it.
        report: called as streams are read.

    Raises:
        ConfigError: the model retrieves no spans.
        TrainingError: too few corrections were found.
        NotFoundError, StorageError, QuestionSetError: passages cannot be read.
    """
    config = model.memory_config
    if not (isinstance(config.retrieval, SpanRetrieval) and config.has_long_term):
        reason = "only spans can replace each other; see configs/smollm2"
        raise ConfigError("memory.retrieval", value=config.retrieval.kind, reason=reason)
    known = Texts.of(texts, Shared(lambda: model).reference)
    parts: list[Pairs] = []
    each, seed = telling.items, telling.seed
    told = [training_items(stream, each, seed) for stream in range(telling.streams)]
    told.append(held_out_items(each, seed))
    trained, kept = _passages(telling.passages, "train"), _passages(telling.passages, "held_out")
    for stream, items in enumerate(told):
        report("memories told and asked", stream, len(told))
        of_split = trained if stream < telling.streams else kept
        longer = passage_items(of_split, stream, each, seed)
        near = collect_alone(model, known, longer, seed)
        mixed = collect_pairs(model, known, [*items, *longer], seed + stream, telling.distances)
        parts.append(Pairs.joined([near, mixed]))
    pairs, held_out = Pairs.joined(parts[:-1]), parts[-1]
    rule = fit_rule(pairs)
    return Fitted(
        with_rule(model, rule),
        told_apart(rule, pairs),
        cross_validated(pairs),
        told_apart(rule, held_out),
    )


def _passages(paths: Sequence[Path], split: Split) -> list[PassageQuestions]:
    return [one for path in paths for one in read_passages(path, split)]


def with_rule(model: MPlus, rule: torch.Tensor) -> MPlus:
    """The same model, whose reads leave out what the rule calls replaced.

    Args:
        model: retrieves spans; its decoder and its weights go into the result.
        rule: [F + 1] weights of the features, and the bias.
    """
    retrieval = model.memory_config.retrieval
    assert isinstance(retrieval, SpanRetrieval)
    config = replace(model.memory_config, retrieval=replace(retrieval, supersedes=True))
    like = model.weights.memory_embedding
    with torch.device("meta"):
        weights = MemoryWeights(len(model.backbone.layers), model.backbone.hidden_size, config)
    known = {**model.weights.state_dict(), "superseding": rule.to(like.device, like.dtype)}
    weights.load_state_dict(known, assign=True)
    return made_over(model, config, weights)
