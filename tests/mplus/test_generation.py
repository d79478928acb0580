"""The stock contract of ``generate`` beside a memory: served as it is, or refused by name.

A tail must generate what rows of the same text generate: then nothing outside the decoder knows
of it. The rows are the model's own layer inputs, so both hold the same text at the same positions.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import (
    CONFIG,
    EOS,
    distance,
    holding,
    layer_inputs,
    make_model,
    make_mplus,
    make_tokenizer,
    padded,
    several,
    some_ids,
)
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    PreTrainedModel,
    StaticCache,
    StoppingCriteriaList,
    TextStreamer,
    WatermarkingConfig,
)

from memplus import Memory, MPlus
from memplus.errors import UsageError
from memplus.memory.retriever import MemoryWeights
from memplus.mplus import generation
from memplus.mplus.evidence import Seen

TOLERANCE = 2e-5
WAITING = 9
PROMPT = torch.cat([some_ids(6, seed=9), some_ids(6, seed=9)])
"""The same six tokens twice: something to look up. What follows repeats tokens of this prompt and
of the text before it, so it matters which of them are counted."""


def both(attention: str = "sdpa") -> tuple[MPlus, Memory, MPlus, Memory]:
    """Two models with memories that hold the same text: one in its tail, one in its rows."""
    stock = make_model(attention=attention)
    text = some_ids(WAITING, seed=7)
    config = replace(CONFIG, bos=False)
    weights = MemoryWeights(len(stock.get_decoder().layers), 32, config)
    waiting = MPlus(stock, config, weights, tokenizer=make_tokenizer()).eval()
    tail = waiting.new_memory()
    waiting.write(tail, text.tolist())
    assert len(tail.tail) == WAITING
    assert not tail.short_term_rows
    written = holding(stock, layer_inputs(stock, text[None], WAITING))
    return waiting, tail, written, written.new_memory()


RULES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "max_length": {"max_length": 17, "max_new_tokens": None},
    "min_length": {"min_length": 18, "eos_token_id": list(range(256))},
    "min_new_tokens": {"min_new_tokens": 6, "eos_token_id": list(range(256))},
    "eos": {"eos_token_id": list(range(256)), "pad_token_id": 256},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "repetition_penalty": {"repetition_penalty": 3.0},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 3.0},
    "bad_words_ids": {"bad_words_ids": [[token] for token in range(0, 256, 3)]},
    "sequence_bias": {"sequence_bias": [[[int(PROMPT[-1]), 5], 60.0], [[9], -3.0]]},
    "forced_bos_token_id": {"forced_bos_token_id": 3},
    "forced_eos_token_id": {"forced_eos_token_id": 4},
    "exponential_decay": {"exponential_decay_length_penalty": (1, 30.0), "eos_token_id": 7},
    "suppress_tokens": {"suppress_tokens": list(range(0, 200))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(0, 200))},
    "watermarking": {"watermarking_config": WatermarkingConfig(bias=20.0, context_width=2)},
    "prompt_lookup": {"prompt_lookup_num_tokens": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0},
    "beams without a cache": {"num_beams": 2, "use_cache": False},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "chunked prefill": {"prefill_chunk_size": 5},
    "sampling": {"do_sample": True, "top_k": 5, "temperature": 0.7},
    "several samples": {"do_sample": True, "num_return_sequences": 3},
    "max_time": {"max_time": 60.0},
    "renormalized": {"renormalize_logits": True, "remove_invalid_values": True},
}


@pytest.mark.parametrize("rule", RULES)
def test_a_tail_generates_what_rows_of_the_same_text_generate(rule: str) -> None:
    waiting, tail, written, rows = both()
    options = {"max_new_tokens": 7, "return_dict_in_generate": True, "output_scores": True}
    options |= {"output_logits": True, "output_hidden_states": True} | RULES[rule]
    torch.manual_seed(0)
    found = waiting.generate(PROMPT, memory=tail, **options)
    torch.manual_seed(0)
    expected = written.generate(PROMPT, memory=rows, **options)
    assert found.sequences.tolist() == expected.sequences.tolist()
    assert found.sequences[0, : len(PROMPT)].tolist() == PROMPT.tolist()
    for kind in ("scores", "logits"):
        for left, right in zip(found[kind], expected[kind], strict=True):
            finite = right.isfinite()
            assert torch.equal(left.isfinite(), finite)
            assert distance(left[finite], right[finite]) <= 100 * TOLERANCE
    for left_step, right_step in zip(found.hidden_states, expected.hidden_states, strict=True):
        for left, right in zip(left_step, right_step, strict=True):
            assert left.shape == right.shape
            assert distance(left, right) <= 10 * TOLERANCE


def test_the_rules_of_these_tests_do_something() -> None:
    """A rule that changes nothing would also pass with a tail in the way."""
    _, _, written, rows = both()
    plain = written.generate(PROMPT, memory=rows, max_new_tokens=7).tolist()
    same = {
        "greedy", "prompt_lookup", "no cache", "static cache", "chunked prefill", "max_time",
        "renormalized", "forced_bos_token_id",
    }  # fmt: skip
    for rule, options in RULES.items():
        torch.manual_seed(0)
        found = written.generate(PROMPT, memory=rows, **{"max_new_tokens": 7} | options)
        assert (found.tolist() == plain) == (rule in same), rule


def test_a_first_token_is_forced_after_a_prompt_of_one_token_with_a_tail_too() -> None:
    waiting, tail, written, rows = both()
    options = {"forced_bos_token_id": 3, "max_new_tokens": 4}
    found = waiting.generate(PROMPT[:1], memory=tail, **options)
    assert found[0, 1] == 3
    assert found.tolist() == written.generate(PROMPT[:1], memory=rows, **options).tolist()


def test_attentions_of_an_eager_model_show_the_tail_as_rows() -> None:
    waiting, tail, written, rows = both("eager")
    options = {"output_attentions": True, "return_dict_in_generate": True, "max_new_tokens": 3}
    found = waiting.generate(PROMPT, memory=tail, **options).attentions
    expected = written.generate(PROMPT, memory=rows, **options).attentions
    assert found[0][0].shape == (1, 4, len(PROMPT), WAITING + len(PROMPT))
    for left_step, right_step in zip(found, expected, strict=True):
        for left, right in zip(left_step, right_step, strict=True):
            assert distance(left, right) <= TOLERANCE
    once = waiting(PROMPT, memory=tail, output_attentions=True).attentions
    assert len(once) == 4
    assert distance(once[2], expected[0][2]) <= TOLERANCE


class Everything:
    """A processor, a criterion, a streamer and a constraint that keep the ids they get."""

    def __init__(self) -> None:
        self.seen: dict[str, list[list[int]]] = {}

    def keep(self, name: str, ids: Tensor) -> None:
        self.seen.setdefault(name, []).append(ids.flatten().tolist())

    def options(self) -> dict[str, Any]:
        def process(input_ids: Tensor, scores: Tensor) -> Tensor:
            self.keep("processor", input_ids)
            return scores

        def stop(input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
            self.keep("criterion", input_ids)
            return torch.zeros(input_ids.shape[0], dtype=torch.bool)

        def allow(row: int, input_ids: Tensor) -> list[int]:
            self.keep("constraint", input_ids)
            return list(range(256))

        return {
            "logits_processor": LogitsProcessorList([process]),
            "stopping_criteria": StoppingCriteriaList([stop]),
            "prefix_allowed_tokens_fn": allow,
        }


@pytest.mark.parametrize("which", [2, 4, 5], ids=["growing", "full", "tail"])
def test_processors_criteria_and_constraints_see_the_callers_tokens(which: int) -> None:
    model = make_mplus()
    memory, watching = several(model)[which], Everything()
    found = model.generate(PROMPT, memory=memory, max_new_tokens=4, **watching.options())[0]
    prompts = [found[:length].tolist() for length in range(len(PROMPT), len(PROMPT) + 5)]
    assert watching.seen["processor"] == prompts[:4]
    assert watching.seen["constraint"] == prompts[:4]
    assert watching.seen["criterion"] == prompts[1:]


def test_a_length_criterion_counts_the_callers_tokens() -> None:
    model = make_mplus()
    memory = several(model)[5]
    criteria = [MaxLengthCriteria(len(PROMPT) + 3)]
    found = model.generate(PROMPT, memory=memory, stopping_criteria=criteria, max_new_tokens=9)
    assert found.shape == (1, len(PROMPT) + 3)


def test_stop_strings_are_looked_for_in_the_callers_text_and_what_follows() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, "stop here")
    tokens = model.generate(PROMPT, memory=memory, max_new_tokens=6)[0, len(PROMPT) :]
    stop = model.tokenizer.decode(tokens[2:3].tolist())
    first = [model.tokenizer.decode([token]) for token in tokens.tolist()].index(stop)
    for options in ({}, {"tokenizer": model.tokenizer}):
        found = model.generate(
            PROMPT, memory=memory, max_new_tokens=6, stop_strings=[stop], **options
        )
        assert found[0, len(PROMPT) :].tolist() == tokens[: first + 1].tolist()


@pytest.mark.parametrize("which", [2, 4, 5], ids=["growing", "full", "tail"])
@pytest.mark.parametrize("how", ["lookup", "assistant", "assistant that is the text's author"])
def test_drafts_change_nothing_but_the_number_of_passes(which: int, how: str) -> None:
    """The first pass holds drafts after the prompt: they must not retrieve."""
    model = make_mplus()
    memory = several(model)[which]
    plain, checked = Seen(), Seen()
    options: dict[str, Any] = {"max_new_tokens": 12}
    expected = model._reader.generate(PROMPT, memory, None, dict(options), plain)
    if how == "lookup":
        options["prompt_lookup_num_tokens"] = 4
    else:
        options["assistant_model"] = make_model(seed=int(how == "assistant"))
    found = model._reader.generate(PROMPT, memory, None, dict(options), checked)
    assert found.tolist() == expected.tolist()
    retrieved = plain.prefix.retrieved  # type: ignore[attr-defined]
    assert retrieved.keys() == checked.prefix.retrieved.keys()  # type: ignore[attr-defined]
    for place, rows in checked.prefix.retrieved.items():  # type: ignore[attr-defined]
        assert torch.equal(rows, retrieved[place])
    torch.manual_seed(0)
    sampled = model.generate(PROMPT, memory=memory, do_sample=True, **options)
    assert sampled.shape[1] <= len(PROMPT) + 12


@pytest.mark.parametrize("tokens", [0, 7, 20, 39])
@pytest.mark.parametrize("size", [1, 4, 99])
def test_a_prefill_in_chunks_reads_what_one_prefill_reads(tokens: int, size: int) -> None:
    model = make_mplus()
    memory = model.new_memory()
    if tokens:
        model.write(memory, some_ids(tokens).tolist())
    assert not memory.long_term_rows
    expected = model.generate(PROMPT, memory=memory, max_new_tokens=5)
    found = model.generate(PROMPT, memory=memory, max_new_tokens=5, prefill_chunk_size=size)
    assert found.tolist() == expected.tolist()


def test_chunks_of_a_padded_batch_with_tails_read_what_one_prefill_reads() -> None:
    model = make_mplus()
    memories = several(model)[:4]
    ids, mask = padded([some_ids(length, seed=length) for length in (3, 12, 7, 1)])
    options: dict[str, Any] = {"memory": memories, "attention_mask": mask, "max_new_tokens": 4}
    expected = model.generate(ids, **options)
    assert model.generate(ids, prefill_chunk_size=5, **options).tolist() == expected.tolist()


def test_a_conversation_goes_on_in_chunks_even_where_rows_were_retrieved() -> None:
    model = make_mplus()
    memory = several(model)[4]
    ids = torch.cat([PROMPT, some_ids(5, seed=3)])

    def go_on(**options: Any) -> list[list[int]]:
        cache = model(PROMPT, memory=memory, use_cache=True).past_key_values
        found: Tensor = model.generate(
            ids, memory=memory, past_key_values=cache, max_new_tokens=4, **options
        )
        return found.tolist()

    assert go_on(prefill_chunk_size=2) == go_on()


@pytest.mark.parametrize("which", [2, 4, 5], ids=["growing", "full", "tail"])
def test_embeddings_of_a_prompt_generate_what_its_ids_generate(which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    embeds = model.backbone.embedding(PROMPT)[None].detach()
    expected = model.generate(PROMPT, memory=memory, max_new_tokens=5)
    alone = model.generate(memory=memory, inputs_embeds=embeds, max_new_tokens=5)
    assert alone.tolist() == expected[:, len(PROMPT) :].tolist()
    beside = model.generate(PROMPT, memory=memory, inputs_embeds=embeds, max_new_tokens=5)
    assert beside.tolist() == expected.tolist()
    mask = torch.ones(2, len(PROMPT) + 3, dtype=torch.long)
    mask[0, :3] = 0
    ids = torch.cat([torch.zeros(2, 3, dtype=torch.long), PROMPT.expand(2, -1)], dim=1)
    batch = model.generate(
        memory=memory,
        inputs_embeds=model.backbone.embedding(ids).detach(),
        attention_mask=mask,
        max_new_tokens=5,
    )
    assert batch[0].tolist() == alone[0].tolist()


@pytest.mark.parametrize("name", ["gemma3", "gpt_neox", "mistral-window"])
def test_embeddings_with_a_tail_in_other_families(name: str) -> None:
    model = make_mplus(name)
    memory = several(model)[5]
    embeds = model.backbone.embedding(PROMPT)[None].detach()
    with torch.no_grad():
        found = model(memory=memory, inputs_embeds=embeds).logits
        assert distance(found, model(PROMPT, memory=memory).logits) <= TOLERANCE


def static(stock: PreTrainedModel, tokens: int) -> StaticCache:
    return StaticCache(stock.config, max_cache_len=tokens)


def test_a_static_cache_of_the_caller_must_hold_the_tail_too() -> None:
    model = make_mplus()
    memory = several(model)[5]
    needed = len(memory.tail) + len(PROMPT) + 4
    expected = model.generate(PROMPT, memory=memory, max_new_tokens=5)
    options: dict[str, Any] = {"memory": memory, "max_new_tokens": 5}
    cache = static(model.model, needed)
    assert model.generate(PROMPT, past_key_values=cache, **options).tolist() == expected.tolist()
    with pytest.raises(UsageError, match=f"{needed} are needed"):
        model.generate(PROMPT, past_key_values=static(model.model, needed - 1), **options)


def long_rope(rows: int, prompt: int) -> tuple[PreTrainedModel, MPlus, Memory, Tensor]:
    """A model with other frequencies from 65 positions on, and rows of a text that goes on."""
    stock = make_model("phi3-longrope-short")
    ids = some_ids(1, rows + prompt, seed=3)
    held = holding(stock, layer_inputs(stock, ids, rows))
    return stock, held, held.new_memory(), ids


@pytest.mark.parametrize(
    ("rows", "prompt", "new"),
    [(20, 10, 20), (20, 10, 35), (20, 44, 1), (20, 45, 8), (50, 20, 60)],
    ids=["below", "up to the switch", "at the switch", "above", "the stock code reads anew"],
)
def test_on_either_side_of_a_switch_of_frequencies_rows_are_read_as_text(
    rows: int, prompt: int, new: int
) -> None:
    stock, held, memory, ids = long_rope(rows, prompt)
    options: dict[str, Any] = {"max_new_tokens": new, "eos_token_id": 259, "pad_token_id": 256}
    expected = stock.generate(ids, do_sample=False, **options)  # type: ignore[operator]
    with torch.no_grad():
        logits = stock(ids).logits[:, rows:]
    if rows + prompt > 64:
        # The rows were taken from the longer text, and its frequencies are those of this read.
        assert distance(held(ids[:, rows:], memory=memory).logits, logits) <= TOLERANCE
    found = held.generate(ids[:, rows:], memory=memory, **options)
    assert found[0].tolist() == expected[0, rows:].tolist()


def test_a_text_that_grows_past_a_switch_of_frequencies_is_refused() -> None:
    _, held, memory, ids = long_rope(20, 10)
    with pytest.raises(UsageError, match="grow past 64 positions"):
        held.generate(ids[:, 20:], memory=memory, max_new_tokens=36)
    with torch.no_grad():
        cache = held(ids[:, 20:], memory=memory, use_cache=True).past_key_values
        held(some_ids(34), memory=memory, past_key_values=cache)
        with pytest.raises(UsageError, match="without past_key_values"):
            held(some_ids(1), memory=memory, past_key_values=cache)
        with pytest.raises(UsageError, match="grow past 64 positions"):
            held.generate(some_ids(46), memory=memory, past_key_values=cache, max_new_tokens=1)


# What is refused -------------------------------------------------------------------------------


def test_every_field_of_the_librarys_rules_is_in_exactly_one_list() -> None:
    """A field that a newer library adds must be looked at before it is served."""
    private = {"transformers_version"}
    fields = {name for name in vars(GenerationConfig()) if name[0] != "_"} - private
    lists = [
        set(generation.SERVED),
        set(generation.ADJUSTED),
        set(generation.CONDITIONAL),
        set(generation.REFUSED),
    ]
    assert set().union(*lists) == fields
    assert sum(len(names) for names in lists) == len(fields)


def test_every_argument_of_the_stock_generate_is_in_exactly_one_list() -> None:
    model = make_model()
    taken = set(inspect.signature(type(model).generate).parameters) - {"self", "kwargs"}
    read = set(inspect.signature(model.forward).parameters) - {"kwargs", "use_cache"}
    by_keyword = {"tokenizer", "assistant_tokenizer", "trust_remote_code"}
    served, refused = set(generation.SERVED_ARGUMENTS), set(generation.REFUSED_ARGUMENTS)
    assert served | refused == taken | read | by_keyword
    assert not served & refused


ON: dict[str, Any] = {
    "assistant_early_exit": 2,
    "constraints": [1],
    "continuous_batching_config": {},
    "diversity_penalty": 0.5,
    "dola_layers": "high",
    "force_words_ids": [[1]],
    "guidance_scale": 1.5,
    "is_assistant": True,
    "low_memory": True,
    "num_beam_groups": 2,
    "penalty_alpha": 0.6,
    "speculation_type": "dflash",
    "token_healing": True,
    "use_mtp": True,
}


@pytest.mark.parametrize("name", sorted(generation.REFUSED))
def test_what_is_not_served_is_refused_by_name(name: str) -> None:
    model = make_mplus()
    memory = several(model)[4]
    rules = GenerationConfig(max_new_tokens=3)
    setattr(rules, name, ON[name])
    with pytest.raises(UsageError, match=f"^{name} is not served"):
        model.generate(PROMPT, memory=memory, generation_config=rules)


def test_rules_that_are_written_down_but_off_are_served() -> None:
    """As in the generation_config.json of many checkpoints."""
    model = make_mplus()
    memory = several(model)[4]
    rules = GenerationConfig(max_new_tokens=3, eos_token_id=EOS, pad_token_id=256)
    for name in generation.REFUSED:
        setattr(rules, name, False if isinstance(ON[name], bool) else None)
    rules.guidance_scale, rules.num_beam_groups, rules.diversity_penalty = 1.0, 1, 0.0
    found = model.generate(PROMPT, memory=memory, generation_config=rules)
    assert found.tolist() == model.generate(PROMPT, memory=memory, max_new_tokens=3).tolist()


def test_without_a_memory_guidance_is_the_stock_models() -> None:
    stock = make_model()
    expected = stock.generate(PROMPT[None], guidance_scale=2.0, max_new_tokens=5)  # type: ignore[operator]
    model = MPlus.from_backbone(stock, CONFIG)
    found = model.generate(PROMPT, guidance_scale=2.0, max_new_tokens=5)
    assert found.tolist() == expected.tolist()
    with pytest.raises(UsageError, match="guidance_scale"):
        model.generate(PROMPT, memory=model.new_memory(), guidance_scale=2.0, max_new_tokens=5)


REFUSED: dict[str, tuple[int, dict[str, Any], str]] = {
    "chunks where rows are retrieved": (4, {"prefill_chunk_size": 3}, "prefill_chunk_size"),
    "a chunk of nothing": (2, {"prefill_chunk_size": 0}, "prefill_chunk_size"),
    "attentions of a fused model": (4, {"output_attentions": True}, "attn_implementation='eager'"),
    "paged": (4, {"cache_implementation": "paged"}, "cache_implementation"),
    "offloaded": (4, {"cache_implementation": "offloaded"}, "CUDA"),
    "offloaded static": (4, {"cache_implementation": "offloaded_static"}, "CUDA"),
    "quantized": (4, {"cache_implementation": "quantized"}, "optimum-quanto"),
    "lookup of nothing": (4, {"prompt_lookup_num_tokens": 0}, "prompt_lookup_num_tokens"),
    "lookup without a cache": (4, {"prompt_lookup_num_tokens": 2, "use_cache": False}, "use_cache"),
    "lookup and beams": (4, {"prompt_lookup_num_tokens": 2, "num_beams": 2}, "without beams"),
    "lookup, static": (
        4, {"prompt_lookup_num_tokens": 2, "cache_implementation": "static"}, "can be cut",
    ),
    "no beams": (4, {"num_beams": 0}, "num_beams"),
    "no sequences": (4, {"num_return_sequences": 0}, "num_return_sequences"),
    "an assistant by name": (4, {"assistant_model": "small"}, "assistant_model must be a model"),
    "chunks without a cache": (
        2, {"prefill_chunk_size": 4, "use_cache": False, "max_new_tokens": 3}, "without a cache",
    ),
    "a temperature of 0": (
        4, {"do_sample": True, "temperature": 0.0, "max_new_tokens": 3}, "temperature",
    ),
    "no tokens": (4, {"max_new_tokens": 0}, "max_new_tokens"),
    "fewer than none": (4, {"max_new_tokens": -1}, "max_new_tokens"),
    "a length in words": (4, {"max_length": "a"}, "max_length"),
    "a least length in words": (4, {"min_new_tokens": "a"}, "min_new_tokens"),
    "half a token": (4, {"max_new_tokens": 1.5}, "max_new_tokens"),
    "a prompt longer than max_length": (5, {"max_length": 12}, "max_length is 12"),
    "greedy sequences": (4, {"num_return_sequences": 2}, "num_return_sequences"),
    "more sequences than beams": (
        4, {"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences",
    ),
    "a misspelt argument": (4, {"max_new_token": 3}, "'max_new_token'"),
    "cache_position": (4, {"cache_position": torch.arange(12)}, "'cache_position'"),
    "code of a repository": (4, {"custom_generate": "someone/decoding"}, "custom_generate"),
    "the prompt twice": (4, {"inputs": PROMPT[None]}, "inputs"),
    "labels": (4, {"labels": PROMPT[None]}, "labels"),
    "rules in a dict": (4, {"generation_config": {"max_new_tokens": 3}}, "generation_config"),
    "a tuple for a cache": (4, {"past_key_values": ((1, 2),)}, "past_key_values"),
    "a negative prompt": (4, {"negative_prompt_ids": PROMPT[None]}, "negative_prompt_ids"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_go_wrong_is_refused_before_it_runs(case: str) -> None:
    model = make_mplus()
    which, options, message = REFUSED[case]
    memory = several(model)[which]
    calls: list[int] = []
    model.backbone.decoder.register_forward_pre_hook(lambda module, args: calls.append(1))
    with pytest.raises(UsageError, match=message):
        model.generate(PROMPT, memory=memory, **options)
    assert not calls


def test_drafts_take_one_prompt_and_another_model() -> None:
    model = make_mplus()
    memory = several(model)[4]
    with pytest.raises(UsageError, match="one prompt at a time"):
        model.generate(PROMPT.expand(2, -1), memory=memory, prompt_lookup_num_tokens=2)
    with pytest.raises(UsageError, match="this model itself"):
        model.generate(PROMPT, memory=memory, assistant_model=model.model)
    embeds = model.backbone.embedding(PROMPT)[None].detach()
    with pytest.raises(UsageError, match="need input_ids"):
        model.generate(memory=memory, inputs_embeds=embeds, prompt_lookup_num_tokens=2)


def test_an_assistant_of_another_vocabulary_is_refused_without_its_tokenizer() -> None:
    model = make_mplus()
    other = make_model(seed=1, changes={"vocab_size": 300})
    with pytest.raises(UsageError, match="assistant_tokenizer"):
        model.generate(PROMPT, memory=several(model)[4], assistant_model=other)


@pytest.mark.parametrize("which", [4, 5], ids=["no tail", "tail"])
def test_an_assistant_of_another_vocabulary_changes_nothing(which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    other = make_model(seed=1, changes={"vocab_size": 300})
    found = model.generate(
        PROMPT,
        memory=memory,
        max_new_tokens=6,
        assistant_model=other,
        tokenizer=model.tokenizer,
        assistant_tokenizer=make_tokenizer(),
    )
    assert found.tolist() == model.generate(PROMPT, memory=memory, max_new_tokens=6).tolist()


def test_a_streamer_and_beams_do_not_go_together() -> None:
    model = make_mplus()
    streamer = TextStreamer(model.tokenizer)
    with pytest.raises(UsageError, match="num_beams=1"):
        model.generate(PROMPT, memory=model.new_memory(), num_beams=2, streamer=streamer)


def test_a_cache_must_leave_something_to_read() -> None:
    model = make_mplus()
    for memory in several(model)[4:]:
        cache = model(PROMPT, memory=memory, use_cache=True).past_key_values
        with pytest.raises(UsageError, match="hold all 12 tokens"):
            model.generate(PROMPT, memory=memory, past_key_values=cache, max_new_tokens=2)
        more = torch.cat([PROMPT, some_ids(2)])
        for options in ({"num_beams": 2}, {"prompt_lookup_num_tokens": 2}):
            with pytest.raises(UsageError, match="past_key_values"):
                model.generate(more, memory=memory, past_key_values=cache, **options)
        found = model.generate(more, memory=memory, past_key_values=cache, max_new_tokens=2)
        assert found.shape == (1, 16)


def test_an_empty_cache_is_no_cache() -> None:
    model = make_mplus()
    for memory in several(model)[4:]:
        found = model.generate(
            PROMPT, memory=memory, past_key_values=DynamicCache(), max_new_tokens=4
        )
        assert found.tolist() == model.generate(PROMPT, memory=memory, max_new_tokens=4).tolist()


def test_new_tokens_without_any_length_are_counted_too() -> None:
    """The library then generates twenty: they must fit as well."""
    model = make_mplus()
    memory = several(model)[4]
    room = model.positions - model.core.prefix_length(memory)
    with pytest.raises(UsageError, match="positions"):
        model.generate(some_ids(room - 10), memory=memory)
    with pytest.raises(UsageError, match="positions"):
        model.generate(some_ids(room - 10), memory=memory, max_new_tokens=11)
