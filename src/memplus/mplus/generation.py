"""What of the stock ``generate`` holds beside a memory, and what is refused before it runs.

Generation sees the caller's tokens alone: tails are put in inside the decoder (``passes.tails``),
so rules that count, compare or stop at tokens need no adjusting. What follows is every field of the
library's ``GenerationConfig`` and every argument of its ``generate``, each in exactly one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from memplus.backbone.stock import default_new_tokens
from memplus.errors import ConfigError, UsageError
from memplus.mplus.arguments import check_count

__all__ = [
    "ADJUSTED",
    "CONDITIONAL",
    "REFUSED",
    "REFUSED_ARGUMENTS",
    "SERVED",
    "SERVED_ARGUMENTS",
    "WITHOUT_MEMORY",
    "Reading",
    "adjust",
    "check_arguments",
    "check_attentions",
    "check_rules",
    "new_tokens",
]

SERVED = frozenset(
    """
    max_length max_new_tokens min_length min_new_tokens early_stopping max_time stop_strings
    do_sample num_beams use_cache cache_config temperature top_k top_p min_p top_h typical_p
    epsilon_cutoff eta_cutoff repetition_penalty encoder_repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids renormalize_logits
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty
    suppress_tokens begin_suppress_tokens sequence_bias watermarking_config num_return_sequences
    output_hidden_states output_scores output_logits return_dict_in_generate pad_token_id
    bos_token_id eos_token_id decoder_start_token_id num_assistant_tokens
    num_assistant_tokens_schedule assistant_confidence_threshold max_matching_ngram_size
    assistant_lookbehind target_lookbehind assistant_ensemble_weight compile_config
    """.split()
)
"""Fields that go to the stock code as they are given."""

ADJUSTED = frozenset({"disable_compile", "max_cache_len"})
"""Compiling is always off; a static cache is made larger by the tail."""

CONDITIONAL = frozenset(
    {
        "cache_implementation",
        "output_attentions",
        "prefill_chunk_size",
        "prompt_lookup_num_tokens",
    }
)
"""Fields served in most reads; ``check_rules`` says in which they are refused."""

_NO_LIBRARY = "the library itself no longer has that search, and would run a repository's code"

REFUSED: dict[str, str] = {
    "assistant_early_exit": "it drafts by cutting layers off the model, which every thread sees",
    "constraints": _NO_LIBRARY,
    "continuous_batching_config": "batches that change while they run cannot share a prefix",
    "diversity_penalty": _NO_LIBRARY,
    "dola_layers": _NO_LIBRARY,
    "force_words_ids": _NO_LIBRARY,
    "guidance_scale": "what the unguided text should remember is not defined",
    "is_assistant": "the model cannot draft for another one while it reads",
    "low_memory": _NO_LIBRARY,
    "num_beam_groups": _NO_LIBRARY,
    "penalty_alpha": _NO_LIBRARY,
    "speculation_type": "drafts from the model's own hidden states are not served",
    "token_healing": "it generates from a part of the prompt first, which would retrieve by it",
    "use_mtp": "drafts from the model's own hidden states are not served",
}
"""Fields that are refused where they are on, and why."""

_OFF: dict[str, float] = {"guidance_scale": 1.0, "num_beam_groups": 1}
"""Values that switch a refused field off, besides None, False and 0."""

WITHOUT_MEMORY = frozenset(
    """
    guidance_scale is_assistant negative_prompt_attention_mask negative_prompt_ids speculation_type
    token_healing use_mtp
    """.split()
)
"""What is refused beside a memory only: read without one, a model is the stock model."""

_GROWING = (None, "dynamic", "offloaded", "quantized")

SERVED_ARGUMENTS = frozenset(
    """
    generation_config logits_processor stopping_criteria prefix_allowed_tokens_fn synced_gpus
    assistant_model streamer tokenizer assistant_tokenizer past_key_values position_ids
    inputs_embeds
    """.split()
)

REFUSED_ARGUMENTS: dict[str, str] = {
    "attention_mask": "it is given by itself",
    "custom_generate": "a decoding loop of one's own calls the model with past_key_values",
    "input_ids": "the prompt is the first argument",
    "inputs": "the prompt is the first argument",
    "labels": "generation has no loss; call the model itself",
    "logits_to_keep": "generation keeps the logits that it needs",
    "negative_prompt_attention_mask": "guidance is not served",
    "negative_prompt_ids": "guidance is not served",
    "trust_remote_code": "no code of a repository is run",
}


@dataclass(frozen=True)
class Reading:
    """What a generation reads, as far as rules depend on it."""

    batch: int
    tokens: int
    """Of the caller's text, padding included."""
    cached: int = 0
    """Tokens of an earlier cache, tails included."""
    extra: int = 0
    """Columns that tails add before the text."""
    memory: bool = False
    """Whether any memory is read."""
    tail: bool = False
    retrieves: bool = False
    """Whether any memory has long-term rows."""
    embedded: bool = False
    """The text is given as embeddings."""
    cuda: bool = False
    """Whether the model is on a CUDA device."""
    self_drafting: bool = False
    """Whether the model is to draft for itself."""
    eager: bool = False
    """The model's attention gives its weights."""


def check_arguments(options: dict[str, Any], *, memory: bool) -> None:
    """Refuse arguments of the stock ``generate`` that are not served, and unknown ones.

    Raises:
        UsageError: with the argument's name.
    """
    for name, value in options.items():
        refused = name in REFUSED_ARGUMENTS and (memory or name not in WITHOUT_MEMORY)
        if refused and value is not None:
            raise UsageError(f"generate does not take {name}: {REFUSED_ARGUMENTS[name]}.")
        if name not in SERVED_ARGUMENTS | REFUSED_ARGUMENTS.keys():
            raise UsageError(f"generate has no argument {name!r}. Is it misspelt?")


def check_rules(rules: Any, options: dict[str, Any], reading: Reading) -> None:
    """Refuse, before anything runs, what would not be right in this reading.

    Args:
        rules: a ``GenerationConfig``.
        options: the other arguments.
        reading: what is read.

    Raises:
        UsageError: with the rule's name and what to do.
    """
    for name, reason in REFUSED.items():
        value = getattr(rules, name, None)
        if name in WITHOUT_MEMORY and not reading.memory:
            continue
        if value is not None and value is not False and value not in (0, _OFF.get(name, 0)):
            raise UsageError(f"{name} is not served: {reason}. Leave it out.")
    _check_cache_kind(rules.cache_implementation, reading)
    for name in ("num_beams", "num_return_sequences"):
        if getattr(rules, name) is not None:
            check_count(name, getattr(rules, name))
    for name in ("max_length", "min_length", "max_new_tokens", "min_new_tokens"):
        length = getattr(rules, name)
        if length is not None and (isinstance(length, bool) or not isinstance(length, int)):
            raise ConfigError(name, value=length, reason="it must be a whole number")
    if rules.max_new_tokens is not None:
        check_count("max_new_tokens", rules.max_new_tokens)
    if rules.stop_strings is not None and options.get("tokenizer") is None:
        raise UsageError("stop_strings need a tokenizer, and the model came without one.")
    if rules.output_attentions:
        check_attentions(eager=reading.eager, assisted=_assisted(rules, options))
    if rules.prefill_chunk_size is not None:
        _check_chunks(rules, reading)
    if _assisted(rules, options):
        _check_assisted(rules, reading)
    _check_lengths(rules, reading)
    if reading.tail and reading.cached:
        for name in ("inputs_embeds", "position_ids"):
            if options.get(name) is not None:
                raise UsageError(
                    f"{name} is not served with past_key_values and a tail. Leave one out, or "
                    "write the tail with flush=True and start a new cache."
                )
    rows = max(rules.num_beams or 1, rules.num_return_sequences or 1)
    if reading.cached and rows > 1:
        raise UsageError(
            "num_beams and num_return_sequences need a prompt without past_key_values: the cache "
            "holds one row for each prompt. Leave the cache out."
        )
    if options.get("streamer") is not None and (rules.num_beams or 1) > 1:
        raise UsageError("A streamer hears one sequence: it needs num_beams=1.")


def check_attentions(*, eager: bool, assisted: bool = False) -> None:
    """Refuse ``output_attentions`` where no weights would come.

    Args:
        eager: whether the model's attention is.
        assisted: whether drafts are checked, several tokens at a time.

    Raises:
        UsageError: the model's attention is fused, or drafts cut the text's weights apart.
    """
    if not eager:
        raise UsageError(
            "output_attentions needs a model loaded with attn_implementation='eager': fused "
            "attention never has the weights."
        )
    if assisted:
        raise UsageError("output_attentions is not served with assisted decoding. Leave it out.")


def _assisted(rules: Any, options: dict[str, Any]) -> bool:
    drafting = options.get("assistant_model") is not None
    return drafting or rules.prompt_lookup_num_tokens is not None


def _check_cache_kind(kind: str | None, reading: Reading) -> None:
    """The library itself finds some of these out in the middle of a run."""
    if kind == "paged":
        raise UsageError("cache_implementation 'paged' is not served. Leave it out.")
    if kind is not None and kind.startswith("offloaded") and not reading.cuda:
        raise UsageError(f"cache_implementation {kind!r} needs a CUDA device. Leave it out.")
    quantizers = ("optimum.quanto", "hqq")
    if kind == "quantized" and not any(_installed(name) for name in quantizers):
        raise UsageError(
            "cache_implementation 'quantized' needs one of the packages optimum-quanto and hqq. "
            "Install one, or leave it out."
        )


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it lies in
        return False


def _check_chunks(rules: Any, reading: Reading) -> None:
    check_count("prefill_chunk_size", rules.prefill_chunk_size)
    if reading.embedded:
        raise UsageError("prefill_chunk_size needs input_ids; inputs_embeds are read at once.")
    if reading.retrieves and not reading.cached:
        raise UsageError(
            "prefill_chunk_size is not served where a memory has long-term rows: they are "
            "retrieved by the whole prompt. Leave it out, or write the text into the memory."
        )
    if reading.tail and reading.cached:
        raise UsageError(
            "prefill_chunk_size is not served with past_key_values and a tail. Leave it out, or "
            "write the tail with flush=True and start a new cache."
        )


def _check_assisted(rules: Any, reading: Reading) -> None:
    if reading.self_drafting:
        raise UsageError("assistant_model is this model itself. Give another one or leave it out.")
    if rules.prompt_lookup_num_tokens is not None:
        check_count("prompt_lookup_num_tokens", rules.prompt_lookup_num_tokens)
    if reading.batch > 1:
        raise UsageError("Assisted decoding and prompt lookup take one prompt at a time.")
    if reading.cached:
        raise UsageError(
            "Assisted decoding and prompt lookup start from the prompt: leave past_key_values out."
        )
    if reading.embedded:
        raise UsageError("Assisted decoding and prompt lookup need input_ids, not inputs_embeds.")
    if rules.use_cache is False or rules.cache_implementation not in _GROWING:
        raise UsageError(
            "Assisted decoding and prompt lookup need a cache that can be cut: leave use_cache and "
            "cache_implementation as they are."
        )
    if (rules.num_beams or 1) > 1 or (rules.num_return_sequences or 1) > 1:
        raise UsageError("Assisted decoding and prompt lookup follow one sequence, without beams.")


def _check_lengths(rules: Any, reading: Reading) -> None:
    if reading.cached - reading.extra >= reading.tokens:
        raise UsageError(
            f"past_key_values hold all {reading.tokens} tokens of input_ids. Give the whole "
            "conversation so far and at least one token after it."
        )
    longest = None if rules.max_new_tokens is not None else rules.max_length
    if longest is not None and longest <= reading.tokens:
        raise UsageError(
            f"max_length is {longest}, but the prompt has {reading.tokens} tokens already. Give "
            "max_new_tokens."
        )


def new_tokens(rules: Any, tokens: int) -> int:
    """Most tokens that these rules can add to a caller's text of so many tokens."""
    if rules.max_new_tokens is not None:
        return int(rules.max_new_tokens)
    if rules.max_length is not None:
        return max(0, int(rules.max_length) - tokens)
    return default_new_tokens()


def adjust(rules: Any, reading: Reading) -> None:
    """Make room for the tail in a static cache, which the stock code sizes by the caller's text."""
    if reading.extra and rules.cache_implementation not in _GROWING:
        needed = reading.tokens + reading.extra + new_tokens(rules, reading.tokens)
        rules.max_cache_len = max(needed, rules.max_cache_len or 0)
