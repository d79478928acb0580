"""Tiny random models, a tokenizer of single bytes, and memories that hold known rows.

Nothing is downloaded: every model is built from a config, and its weights are drawn large enough
that a mistake in any of them shows.

Shapes: B batch, L layers, P rows, T tokens, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from memplus import Memory, MemoryConfig, MPlus
from memplus.config import AdapterConfig
from memplus.memory.retriever import MemoryWeights
from memplus.passes.pristine import Pristine

VOCABULARY = 260
EOS = 257
HIDDEN = 32
LAYERS = 4
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 256,
    "bos_token_id": 258,
    "eos_token_id": EOS,
    "tie_word_embeddings": False,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def _phi3(**changes: Any) -> Phi3Config:
    return Phi3Config(**_SIZES | changes)


def _longrope(original: int, **changes: Any) -> Phi3Config:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 3.0, 4.0, 5.0],
        "original_max_position_embeddings": original,
    }
    sizes = {"rope_parameters": rope, "original_max_position_embeddings": original}
    return Phi3Config(**_SIZES | sizes | changes)


def _neox(**changes: Any) -> GPTNeoXConfig:
    sizes = {name: value for name, value in _SIZES.items() if name != "num_key_value_heads"}
    return GPTNeoXConfig(**sizes | {"rope_parameters": _neox_rope()} | changes)


def _neox_rope() -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}


def _scaled(kind: str, factor: float) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 10000.0, "factor": factor}


_ALTERNATING = ["sliding_attention", "full_attention"] * (LAYERS // 2)
_PARTIAL = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "llama-bias": lambda: LlamaConfig(**_SIZES, attention_bias=True, mlp_bias=True),
    "llama-wide-heads": lambda: LlamaConfig(**_SIZES, head_dim=16),
    "llama-linear": lambda: LlamaConfig(**_SIZES, rope_parameters=_scaled("linear", 2.5)),
    "llama-dynamic": lambda: LlamaConfig(
        **_SIZES | {"max_position_embeddings": 24}, rope_parameters=_scaled("dynamic", 4.0)
    ),
    "llama-llama3": lambda: LlamaConfig(**_SIZES, rope_parameters=LLAMA3_ROPE),
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=None),
    "mistral-window": lambda: MistralConfig(**_SIZES, sliding_window=64),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "qwen2-window": lambda: Qwen2Config(
        **_SIZES, use_sliding_window=True, sliding_window=64, layer_types=_ALTERNATING
    ),
    "qwen3": lambda: Qwen3Config(**_SIZES, head_dim=16),
    "smollm3": lambda: SmolLM3Config(**_SIZES, no_rope_layers=[1, 0, 1, 0]),
    "olmo2": lambda: Olmo2Config(**_SIZES),
    "gemma2": lambda: Gemma2Config(
        **_SIZES, head_dim=16, sliding_window=64, query_pre_attn_scalar=20
    ),
    "gemma2-no-cap": lambda: Gemma2Config(
        **_SIZES, head_dim=8, sliding_window=64, attn_logit_softcapping=None
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **_SIZES, head_dim=16, sliding_window=64, layer_types=_ALTERNATING
    ),
    "phi3": _phi3,
    "phi3-partial": lambda: _phi3(rope_parameters=_PARTIAL),
    "phi3-longrope-short": lambda: _longrope(64),
    "phi3-longrope-long": lambda: _longrope(16),
    "gpt_neox": _neox,
    "gpt_neox-sequential": lambda: _neox(use_parallel_residual=False),
}
"""Every supported family and the variants of it that memplus must get right, by name."""

WINDOWED = {
    "mistral-window": {"sliding_window": 6},
    "qwen2-window": {"sliding_window": 6},
    "gemma2": {"sliding_window": 6},
    "gemma2-no-cap": {"sliding_window": 6},
    "gemma3": {"sliding_window": 6},
}
"""Families with sliding windows, with a window shorter than the test's text."""


def make_model(
    name: str = "llama",
    *,
    attention: str = "sdpa",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """A random model of a family, in evaluation mode; the same weights for the same seed."""
    config = CONFIGS[name]()
    for field, value in (changes or {}).items():
        setattr(config, field, value)
    config._attn_implementation = attention
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, weight in model.named_parameters():
            centre = 1.0 if path.endswith("norm.weight") and "gemma" not in name else 0.0
            spread = 0.25 if weight.dim() == 1 else 0.8 * weight.shape[-1] ** -0.5
            weight.copy_(torch.randn(weight.shape, generator=generator) * spread + centre)
    return model.to(dtype).eval()


CONFIG = MemoryConfig(
    short_term_tokens=24,
    retrieved_tokens=8,
    tokens_per_write=6,
    chunk_tokens=10,
    retriever_dim=8,
)
"""A small memory: full after four writes."""

ADAPTERS = AdapterConfig(rank=2, alpha=4)


def make_mplus(
    name: str = "llama", config: MemoryConfig = CONFIG, *, seed: int = 0, **options: Any
) -> MPlus:
    """A random model with a random memory and a tokenizer; adapters are never at zero.

    Args:
        name: key of ``CONFIGS``.
        config: of the memory.
        seed: of all weights.
        options: those of ``make_model``.
    """
    model = make_model(name, seed=seed, **options)
    made = MPlus.from_backbone(model, config, tokenizer=make_tokenizer())
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        ours = [*made.weights.named_parameters()]
        ours += [(n, w) for n, w in made.model.named_parameters() if "lora_" in n]
        for _, weight in ours:
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return made.eval()


def holding(model: PreTrainedModel, rows: Tensor, stored: int = 0) -> MPlus:
    """A model whose every new memory holds given rows and nothing else: no bos.

    Args:
        model: stock model.
        rows: [L, P, d], oldest first.
        stored: the oldest so many lie in the long-term memory, and every read retrieves them all.
    """
    layers, count, width = rows.shape
    config = replace(
        CONFIG,
        short_term_tokens=count - stored,
        retrieved_tokens=stored,
        tokens_per_write=min(4, count - stored),
        bos=False,
    )
    weights = MemoryWeights(layers, width, config).to(rows.dtype)
    pristine = Pristine(short_term=rows[:, stored:])
    if stored:
        generator = torch.Generator().manual_seed(5)
        # Stored newest first: reading has to put them in order by age.
        pristine.long_term = [layer[:stored].flip(0) for layer in rows]
        pristine.keys = [
            torch.randn(stored, config.retriever_dim, generator=generator) for _ in range(layers)
        ]
        pristine.long_term_ages = [torch.arange(1, stored + 1) for _ in range(layers)]
    return MPlus(model, config, weights, pristine=pristine, tokenizer=make_tokenizer()).eval()


@torch.no_grad()
def layer_inputs(model: PreTrainedModel, ids: Tensor, count: int) -> Tensor:
    """[L, count, d]: what each layer of a stock model gets for its first ``count`` tokens."""
    seen: list[Tensor] = []
    layers = model.get_decoder().layers
    handles = [
        layer.register_forward_pre_hook(lambda module, args: seen.append(args[0][0, :count]))
        for layer in layers
    ]
    try:
        model(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(seen)


@torch.no_grad()
def slow_pass(
    model: PreTrainedModel,
    rows: Tensor,
    ids: Tensor,
    embedding: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A read (or, with the memory embedding, a write) by the stock model alone, eager attention.

    Every layer's first P rows are overwritten with the given ones, and an explicit mask shows
    them to all that follows, whatever the window; text is causal and windowed.

    Args:
        model: stock model, loaded with ``eager``.
        rows: [L, P, d] what stands before the text in each layer (bos included).
        ids: [T].
        embedding: [k, d] added to the last k rows of the sequence in every layer.
        bias: [L, P] added to the attention scores of the rows.

    Returns:
        Logits [T, V] and every layer's outputs [L, P + T, d].
    """
    count, length = rows.shape[1], ids.shape[0]
    outputs: list[Tensor] = []

    def before(layer: int, args: tuple[Tensor, ...], named: dict[str, Any]) -> Any:
        hidden = torch.cat([rows[layer][None], args[0][:, count:]], dim=1)
        if embedding is not None:
            hidden[:, -embedding.shape[0] :] += embedding
        if bias is not None:
            mask = named["attention_mask"].clone()
            mask[..., :count] += bias[layer]
            named = named | {"attention_mask": mask}
        return (hidden, *args[1:]), named

    handles = []
    for index, layer in enumerate(model.get_decoder().layers):
        hook = partial(_before_layer, before, index)
        handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
        handles.append(layer.register_forward_hook(lambda m, a, out: outputs.append(out[0])))
    whole = torch.cat([ids.new_zeros(count), ids])[None]
    try:
        logits = model(whole, attention_mask=_slow_mask(model, count, length), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return logits.logits[0, count:], torch.stack(outputs)


def _before_layer(
    before: Callable[..., Any], index: int, module: Any, args: Any, named: dict[str, Any]
) -> Any:
    return before(index, args, named)


def _slow_mask(model: PreTrainedModel, rows: int, length: int) -> Any:
    """[1, 1, S, S] additive; one per kind of layer where a model has two."""
    config, size = model.config, rows + length
    place = torch.arange(size)
    causal = place[:, None] >= place[None, :]
    window = getattr(config, "sliding_window", None) or size
    near = (place[:, None] - place[None, :] < window) | (place[None, :] < rows)

    def additive(seen: Tensor) -> Tensor:
        mask = torch.zeros(1, 1, size, size, dtype=model.dtype)
        return mask.masked_fill(~seen, torch.finfo(model.dtype).min)

    full, sliding = additive(causal), additive(causal & near)
    if getattr(config, "layer_types", None):
        return {"full_attention": full, "sliding_attention": sliding}
    return sliding


def some_ids(*shape: int, seed: int = 0) -> Tensor:
    """Random byte ids of a shape."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte; decodes what it encodes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<end>", bos_token="<begin>"
    )


def eager_for(name: str) -> str:
    """The attention to load a family with: the library refuses Gemma2 with sdpa."""
    return "eager" if name.startswith("gemma2") else "sdpa"


def family(name: str, seed: int = 0) -> MPlus:
    """``make_mplus`` with the attention that the family allows."""
    return make_mplus(name, attention=eager_for(name), seed=seed)


def distance(left: Tensor, right: Tensor) -> float:
    """The largest difference of two tensors of one shape."""
    return (left - right).abs().max().item()


def several(model: MPlus) -> list[Memory]:
    """An empty memory, growing ones, full ones; with and without store and tail."""
    made = []
    for index, tokens in enumerate((0, 7, 20, 33, 80, 117)):
        memory = model.new_memory(seed=index)
        if tokens:
            model.write(memory, some_ids(tokens, seed=index).tolist(), source=f"text {index}")
        made.append(memory)
    return made


def padded(prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left: ids and mask [B, T]."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), 256)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return ids, mask


PROMPTS = [some_ids(length, seed=20 + length) for length in (5, 1, 9, 4, 9, 2)]
