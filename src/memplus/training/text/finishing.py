"""What a trained model is given before it is used: how it reads, and what its memories begin with.

None of it is trained. It is chosen once the last stage is there, and then belongs to the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from memplus.config import SpanRetrieval
from memplus.errors import ConfigError
from memplus.mplus.model import MPlus
from memplus.training.engine.saving import lossless, made_over
from memplus.training.tasks.pristine_rows import opening_rows

__all__ = ["Finish", "finished"]


@dataclass(frozen=True)
class Finish:
    """What is to be set; None leaves what the model has."""

    retrieved_tokens: int | None = None
    """Long-term rows that a read retrieves."""
    rows: str | None = None
    """How new memories keep their rows."""
    neighbours: bool | None = None
    """Whether the better neighbour of the best span is read too."""
    sharpens: bool | None = None
    """Whether matches of spans are sharpened."""
    opening: str | None = None
    """A text that answers no question: its rows are what every new memory begins with."""


def finished(model: MPlus, finish: Finish) -> MPlus:
    """The same weights with what is set.

    Args:
        model: trained; it is not to be used any more.
        finish: what is to be set.

    Raises:
        ConfigError: a value does not go with the model, or the opening is empty or longer than what
            one write takes in.
    """
    config = model.memory_config
    given = _set({"retrieved_tokens": finish.retrieved_tokens, "rows": finish.rows})
    if finish.retrieved_tokens and model.weights.retriever is None:
        reason = "the model has no retriever; a stage of training with a long-term memory makes one"
        raise ConfigError("retrieved_tokens", value=finish.retrieved_tokens, reason=reason)
    of_spans = _set({"neighbours": finish.neighbours, "sharpens": finish.sharpens})
    if of_spans:
        if not isinstance(config.retrieval, SpanRetrieval):
            reason = "the model retrieves rows, and this is about spans"
            name, value = next(iter(of_spans.items()))
            raise ConfigError(name, value=value, reason=reason)
        given["retrieval"] = replace(config.retrieval, **of_spans)
    made = made_over(model, replace(config, **given))
    if finish.retrieved_tokens == 0:
        short = made.pristine
        made.pristine = replace(short, long_term=[], keys=[], long_term_ages=[], counters=[])
    if finish.opening is not None:
        text, most = finish.opening.strip(), config.chunk_tokens
        tokens = len(made.encode(text))
        if not 0 < tokens <= most:
            reason = f"it has {tokens} tokens, and one write takes in 1 to {most}"
            raise ConfigError("opening", value=text[:40], reason=reason)
        dtype = lossless([*model.weights.parameters()])
        opened = opening_rows(made, text)
        assert opened.short_term is not None
        # In as many bits as what makes the rows, so that they do not double the model's file.
        rows = opened.short_term if dtype is None else opened.short_term.to(dtype).float()
        made.pristine = replace(opened, short_term=rows)
    return made


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
