"""The model a run starts from: an earlier stage's, a stock decoder, or one made from nothing.

Shapes: L layers, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from memplus.config import MemoryConfig, SpanRetrieval
from memplus.data.corpus import train_tokenizer
from memplus.errors import ConfigError
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.model import MPlus
from memplus.training.engine.fresh import is_fresh, write_fresh
from memplus.training.engine.optimizers import choose_trainable
from memplus.training.text.run_config import TrainingConfig
from memplus.training.text.text_cache import Documents

__all__ = ["begin_as_stock", "begin_retriever", "starting_model", "with_memory"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_FRESH = "fresh"
_STANDARD = 16
"""Chunks whose rows say what rows are like."""


def starting_model(config: TrainingConfig, texts: Sequence[str] | None = None) -> MPlus:
    """The model of ``config.model``, its trainable weights chosen.

    Args:
        config: of the run.
        texts: for the tokenizer of a model made from nothing; its files are kept in the run's
            folder, where a resumed run finds them.

    Raises:
        ConfigError: adapters or rows do not fit those of ``start``.
        UnknownModelError, UnsupportedModelError, WeightsError: as the loaders.
    """
    given, dtype = config.model, _DTYPES[config.model.dtype]
    torch.manual_seed(config.run.seed)
    if given.start is not None:
        model = with_memory(MPlus.from_pretrained(given.start, dtype=dtype), config.memory)
    elif given.backbone is not None:
        model = MPlus.from_backbone(given.backbone, config.memory, dtype=dtype)
        begin_as_stock(model)
    else:
        model = MPlus.from_backbone(_fresh_folder(config, texts), config.memory)
    if config.prompt is not None:
        model.prompt = config.prompt
    choose_trainable(model, given.trainable)
    if given.gradient_checkpointing:
        model.model.activation_checkpointing_enable()
    return model


@torch.no_grad()
def begin_as_stock(model: MPlus) -> None:
    """Let a pretrained decoder's fresh memory disturb it as little as possible.

    A pretrained decoder looks at its first token whenever nothing else is worth looking at, so bos
    begins as what that token is in each layer; the memory embedding begins at zero.

    Args:
        model: is changed.
    """
    model.weights.memory_embedding.zero_()
    bos = model.weights.bos_embedding
    if bos is None or model.core.optional_tokenizer is None:
        return
    tokenizer = model.tokenizer
    first = tokenizer.bos_token_id
    if first is None:
        first = tokenizer.encode("\n", add_special_tokens=False)[0]
    ids = torch.tensor([[first]], device=model.device)
    output = model.backbone.decoder(input_ids=ids, use_cache=False, output_hidden_states=True)
    bos.copy_(torch.stack([one[0] for one in output.hidden_states[: len(bos)]]))


@torch.no_grad()
def begin_retriever(model: MPlus, documents: Documents) -> None:
    """Let a fresh retriever of spans begin as a likeness of standardised hidden states.

    One that has begun is left as it is.

    Args:
        model: is changed.
        documents: the rows are those of their first chunks.
    """
    weights, size = model.weights, model.memory_config.chunk_tokens
    if weights.retriever is None or not model.memory_config.retrieves_spans:
        return
    layer = weights.retrieving[0]
    retriever, access = weights.layer_retriever(layer), model.backbone.layers[layer]
    if retriever.center is None or bool(retriever.center.any()):
        return
    long = [i for i, (_, length) in enumerate(documents.spans) if length >= size][:_STANDARD]
    if long:
        ids = torch.stack([documents.read(index, 0, size) for index in long]).to(model.device)
        dtype = model.backbone.dtype
        # What is trained is in float32 by now, beside a decoder that may be in 16 bits.
        with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
            made = model.core.write_rows(ids, model.core.context([None] * len(ids)))
        retriever.begin(access.norm(made[:, layer].flatten(0, 1)).to(retriever.center.dtype))


def _fresh_folder(config: TrainingConfig, texts: Sequence[str] | None) -> Path:
    sizes = config.model.fresh
    assert sizes is not None
    folder = config.run.out / _FRESH
    if texts is not None:
        tokenizer = train_tokenizer(texts, sizes.vocabulary, config.run.seed)
        write_fresh(folder, sizes, tokenizer, config.run.seed)
    elif not is_fresh(folder):
        raise ConfigError("model.fresh", value=str(folder), reason="the run has no model yet")
    return folder


def _keys_of(config: MemoryConfig) -> tuple[object, ...]:
    """What the keys of a retriever depend on."""
    way = config.retrieval
    return (way.kind, way.layer, way.span_rows) if isinstance(way, SpanRetrieval) else (way.kind,)


def with_memory(model: MPlus, config: MemoryConfig) -> MPlus:
    """The same weights under another memory config: a later stage's.

    A retriever is made anew where there was none, or one of another width, rule, span or layer.
    Short-term rows that come with the model are kept as far as they fit, long-term ones are not:
    a run begins without them.

    Args:
        model: its decoder goes into the result.
        config: sizes and rules from now on.

    Raises:
        ConfigError: its adapters are not those of the model.
    """
    before = model.memory_config
    if before.adapters != config.adapters:
        raise ConfigError(
            "memory.adapters", value=config.adapters,
            reason=f"the model to start from has {before.adapters}",
        )  # fmt: skip
    if before.bos != config.bos:
        raise ConfigError("memory.bos", value=config.bos, reason="the model to start from differs")
    weights = MemoryWeights(len(model.backbone.layers), model.backbone.hidden_size, config)
    weights = weights.to(device=model.device, dtype=model.weights.memory_embedding.dtype)
    known, there = model.weights.state_dict(), weights.state_dict()
    if _keys_of(before) != _keys_of(config):
        stale = ("retriever.", "superseding")  # the rule was fitted to the keys of that retriever
        known = {name: one for name, one in known.items() if not name.startswith(stale)}
    weights.load_state_dict(
        there | {n: t for n, t in known.items() if n in there and t.shape == there[n].shape}
    )
    pristine, last = type(model.pristine)(), slice(-config.short_term_tokens, None)
    rows, ages = model.pristine.short_term, model.pristine.ages
    if rows is not None:
        pristine.short_term = rows[:, last].contiguous()
        pristine.ages = None if ages is None else ages[:, last].contiguous()
    made = MPlus(
        model.model, config, weights,
        tokenizer=model.tokenizer, prompt=model.prompt, pristine=pristine,
    )  # fmt: skip
    made.kept, made.origin = model.kept, model.origin
    return made
