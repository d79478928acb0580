"""Arguments of reads, checked at the door: each is right, or refused by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import (
    CONFIG,
    PROMPTS,
    VOCABULARY,
    distance,
    make_model,
    make_mplus,
    several,
    some_ids,
)

from memplus import Memory, MemoryStore, MPlus
from memplus.errors import ConfigError, MemoryMismatchError, UsageError
from memplus.mplus.arguments import as_batch, check_count, per_row
from memplus.sessions.conversation import Conversation

TOLERANCE = 2e-5
WRONG_IDS: dict[str, tuple[Any, str]] = {
    "a list": ([1, 2], "input_ids must be a tensor"),
    "a text": ("what?", "input_ids must be a tensor"),
    "nothing": (None, "give input_ids or inputs_embeds"),
    "no tokens": (torch.zeros(0, dtype=torch.long), "T >= 1"),
    "no rows": (torch.zeros(0, 4, dtype=torch.long), "T >= 1"),
    "a number": (torch.tensor(3), "T >= 1"),
    "too many dimensions": (torch.zeros(1, 2, 3, dtype=torch.long), "T >= 1"),
    "floats": (torch.tensor([1.5, 2.0]), "must hold integers, not float32"),
    "a mask for ids": (torch.tensor([True, False]), "must hold integers, not bool"),
    "beyond the vocabulary": (torch.tensor([1, VOCABULARY]), f"hold {VOCABULARY}, but"),
    "negative": (torch.tensor([1, -1]), "hold -1, but"),
}


@pytest.mark.parametrize("case", WRONG_IDS)
@pytest.mark.parametrize("how", ["forward", "generate", "without memory"])
def test_ids_of_another_kind_are_refused_by_every_door(case: str, how: str) -> None:
    model = make_mplus()
    ids, message = WRONG_IDS[case]
    memory = None if how == "without memory" else model.new_memory()
    with pytest.raises(UsageError, match=message):
        if how == "generate":
            model.generate(ids, memory=memory, max_new_tokens=1)
        else:
            model(ids, memory=memory)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.uint8])
def test_ids_of_any_integer_type_are_read_alike(dtype: torch.dtype) -> None:
    model = make_mplus()
    memory, ids = several(model)[5], PROMPTS[0] % 100
    with torch.no_grad():
        found = model(ids.to(dtype), memory=memory).logits
        assert distance(found, model(ids, memory=memory).logits) == 0


def test_a_question_with_a_token_that_the_model_does_not_have_is_refused() -> None:
    model = make_mplus()
    model.tokenizer.add_tokens([f"<more-{index}>" for index in range(9)])
    memory = several(model)[4]
    for ask in (model.ask, model.retrieve):
        with pytest.raises(UsageError, match=rf"lie in 0\.\.{VOCABULARY - 1}"):
            ask(memory, "Who is <more-8>?")


MASKS: dict[str, tuple[Any, str]] = {
    "a list": ([1, 1, 1, 1, 1], "attention_mask must be a tensor"),
    "shorter": (torch.ones(1, 4), "attention_mask has shape"),
    "longer": (torch.ones(1, 6), "attention_mask has shape"),
    "of other rows": (torch.ones(2, 5), "attention_mask must be"),
    "of four dimensions": (torch.ones(1, 1, 5, 5), "attention_mask must be"),
    "of nothing": (torch.zeros(1, 5), "hides every token"),
}


@pytest.mark.parametrize("which", [4, 5], ids=["no tail", "tail"])
@pytest.mark.parametrize("case", MASKS)
def test_a_mask_of_another_kind_is_refused(case: str, which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    mask, message = MASKS[case]
    with pytest.raises(UsageError, match=message):
        model(PROMPTS[0], memory=memory, attention_mask=mask)
    with pytest.raises(UsageError, match=message):
        model.generate(PROMPTS[0], memory=memory, attention_mask=mask, max_new_tokens=1)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_a_mask_of_any_type_is_read_alike(dtype: torch.dtype) -> None:
    model = make_mplus()
    ids, mask = some_ids(2, 5), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    for memory in several(model)[4:]:
        options: dict[str, Any] = {"memory": memory, "max_new_tokens": 3}
        expected = model.generate(ids, attention_mask=mask, **options)
        found = model.generate(ids, attention_mask=mask.to(dtype), **options)
        assert found.tolist() == expected.tolist()


def test_embeddings_of_another_kind_are_refused() -> None:
    model = make_mplus()
    memory = model.new_memory()
    for embeds, message in (
        ([[1.0] * 32], "inputs_embeds must be a tensor"),
        (some_ids(1, 5, 32), "inputs_embeds must be a tensor"),
        (torch.zeros(1, 5, 31), r"inputs_embeds must be \[B, T, 32\]"),
        (torch.zeros(1, 0, 32), r"inputs_embeds must be \[B, T, 32\]"),
    ):
        for read in (model, model.generate):
            with pytest.raises(UsageError, match=message):
                read(None, memory=memory, inputs_embeds=embeds)
    with pytest.raises(UsageError, match="not both"):
        model(PROMPTS[0], memory=memory, inputs_embeds=torch.zeros(1, 5, 32))
    with pytest.raises(UsageError, match="differ in size"):
        model.generate(PROMPTS[0], memory=memory, inputs_embeds=torch.zeros(1, 4, 32))


@pytest.mark.parametrize("which", [2, 4, 5], ids=["growing", "full", "tail"])
def test_embeddings_are_read_as_the_ids_that_they_embed(which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    embeds = model.backbone.embedding(PROMPTS[2]).detach()
    with torch.no_grad():
        expected = model(PROMPTS[2], memory=memory).logits
        assert distance(model(memory=memory, inputs_embeds=embeds[None]).logits, expected) == 0
        assert distance(model(memory=memory, inputs_embeds=embeds).logits, expected) == 0
    given = embeds[None].requires_grad_()
    model(memory=memory, inputs_embeds=given).logits.sum().backward()
    assert given.grad is not None
    assert bool((given.grad.abs().sum(dim=2) > 0).all())


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ("a.memory", "memory must be a Memory or a list of them, not str"),
        (7, "memory must be a Memory or a list of them, not int"),
        ([None], "not NoneType among them"),
        ([], "0 memories were given for 1 prompt"),
    ],
)
def test_what_is_no_memory_is_refused(memory: Any, message: str) -> None:
    model = make_mplus()
    for read in (model, model.generate):
        with pytest.raises(UsageError, match=message):
            read(PROMPTS[0], memory=memory)


@pytest.mark.parametrize("memory", [None, 7, (7,), "m", torch.tensor([[1]]), {"a": 1}])
def test_what_is_no_memory_cannot_be_asked(memory: Any) -> None:
    model = make_mplus()
    for question in ("Who?", ["Who?"]):
        with pytest.raises(UsageError, match=r"needs a memory|must be a"):
            model.ask(memory, question)


@pytest.mark.parametrize("memory", [None, 7, "m", b"m", {"a": 1}, ["m"]])
def test_what_is_no_memory_cannot_be_written_into(memory: Any) -> None:
    model = make_mplus()
    for door in (
        lambda: model.write(memory, "The gate is red."),
        lambda: model.write(memory, ["The gate is red."]),
        lambda: model.write_chunk(memory, PROMPTS[0]),
        lambda: model.replay(memory, []),
        lambda: model.compress(memory or "m", PROMPTS[0]),
    ):
        with pytest.raises(UsageError, match="memory must be a") as caught:
            door()
        assert "list of texts" not in caught.value.message
    with pytest.raises(UsageError, match="takes a list of texts"):
        model.write([model.new_memory()], None)  # type: ignore[call-overload]


def test_a_memory_in_the_place_of_a_text_is_told_where_it_belongs() -> None:
    model = make_mplus()
    memory: Any = model.new_memory()
    swapped: Any = "Who?"
    for door in (
        lambda: model.write(swapped, memory),
        lambda: model.write([swapped], [memory]),
        lambda: model.ask(swapped, memory),
        lambda: model.ask([swapped], memory),
        lambda: model.retrieve(swapped, memory),
        lambda: model.write_chunk(PROMPTS[0], memory),  # type: ignore[arg-type]
        lambda: model.compress(PROMPTS[0], memory),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match=r"memory must be a.* The memory comes first"):
            door()


def test_a_name_that_is_empty_is_told_so(tmp_path: Path) -> None:
    model = make_mplus()
    store = MemoryStore(tmp_path)
    for door in (
        lambda: MPlus.from_pretrained(""),
        lambda: MPlus.from_pretrained("nano", base=""),
        lambda: MPlus.from_backbone("", CONFIG),
        lambda: model.save_pretrained(""),
        lambda: model.new_memory().save(""),
        lambda: Memory.load("", model),
        lambda: MemoryStore(""),
        lambda: MemoryStore.existing(""),
        lambda: store.import_memory(""),
        lambda: store.export("a", ""),
    ):
        with pytest.raises(UsageError, match=" is empty; it must "):
            door()


@pytest.mark.parametrize("text", [None, 5, b"x", ["x"]])
def test_what_is_no_text_is_refused_by_every_door(text: Any) -> None:
    model = make_mplus()
    memory = several(model)[4]
    for door in (
        lambda: model.encode(text),
        lambda: model.retrieve(memory, text),
        lambda: Conversation(model, memory).say(text),
    ):
        with pytest.raises(UsageError, match=r"must be a string|is text"):
            door()


def test_only_a_memory_is_retrieved_from() -> None:
    with pytest.raises(UsageError, match="must be a Memory, not NoneType"):
        make_mplus().retrieve(None, "Who?")  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", ["0.5", True, float("nan"), -1])
def test_a_threshold_is_a_number_from_0_to_1(threshold: Any) -> None:
    model = make_mplus()
    with pytest.raises(ConfigError, match="min_confidence cannot be"):
        model.ask(several(model)[4], "Who?", min_confidence=threshold)


def test_memories_of_another_model_are_refused() -> None:
    model, other = make_mplus(), make_mplus(seed=1)
    for memory in (other.new_memory(), [other.new_memory()]):
        with pytest.raises(MemoryMismatchError):
            model(PROMPTS[0], memory=memory)


@pytest.mark.parametrize("which", [4, 5], ids=["no tail", "tail"])
@pytest.mark.parametrize("kept", [1, 3, 0, torch.tensor([0, 2]), torch.tensor([-1])], ids=str)
def test_kept_logits_are_those_of_the_callers_tokens(kept: Any, which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    with torch.no_grad():
        logits = model(PROMPTS[2], memory=memory).logits
        found = model(PROMPTS[2], memory=memory, logits_to_keep=kept).logits
    expected = logits[:, -kept:] if isinstance(kept, int) else logits[:, kept]
    assert found.shape == expected.shape
    assert distance(found, expected) <= TOLERANCE


@pytest.mark.parametrize("which", [4, 5], ids=["no tail", "tail"])
def test_positions_count_the_callers_tokens(which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    with torch.no_grad():
        expected = model(PROMPTS[2], memory=memory).logits
        for positions in (torch.arange(9)[None], torch.arange(9)[None].int()):
            found = model(PROMPTS[2], memory=memory, position_ids=positions).logits
            assert distance(found, expected) <= TOLERANCE
        later = model(PROMPTS[2], memory=memory, position_ids=torch.arange(3, 12)[None]).logits
        assert distance(later, expected) > 1e-3
        first = model(PROMPTS[2][:4], memory=memory, use_cache=True)
        second = model(
            PROMPTS[2][4:],
            memory=memory,
            past_key_values=first.past_key_values,
            position_ids=torch.arange(4, 9)[None],
        )
    again = model(PROMPTS[2][:4], memory=memory, use_cache=True)
    plain = model(PROMPTS[2][4:], memory=memory, past_key_values=again.past_key_values)
    assert distance(second.logits, plain.logits) <= TOLERANCE


@pytest.mark.parametrize("which", [4, 5], ids=["no tail", "tail"])
def test_hidden_states_are_as_wide_as_the_callers_text(which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    found = model(PROMPTS[2], memory=memory, output_hidden_states=True)
    assert [tuple(one.shape) for one in found.hidden_states] == [(1, 9, 32)] * 5
    logits = model.core.logits(found.hidden_states[-1])
    assert distance(logits, found.logits) <= TOLERANCE


def test_a_tuple_comes_back_where_one_is_asked_for() -> None:
    model = make_mplus()
    memory = several(model)[5]
    with torch.no_grad():
        logits, cache = model(PROMPTS[0], memory=memory, use_cache=True, return_dict=False)
        expected = model(PROMPTS[0], memory=memory).logits
        assert distance(logits, expected) == 0
        assert model(some_ids(1), memory=memory, past_key_values=cache).logits.shape[1] == 1


LABELS: dict[str, tuple[Any, str]] = {
    "of another shape": (some_ids(1, 4), r"labels have shape \[1, 4\]"),
    "a list": ([1, 2, 3, 4, 5], "labels must be a tensor"),
    "beyond the vocabulary": (torch.full((1, 5), VOCABULARY), "labels hold"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_of_another_kind_are_refused(case: str) -> None:
    model = make_mplus()
    labels, message = LABELS[case]
    with pytest.raises(UsageError, match=message):
        model(PROMPTS[0], memory=model.new_memory(), labels=labels)


def test_labels_of_padded_rows_and_tails_count_the_callers_tokens() -> None:
    model = make_mplus()
    memories = several(model)[4:]
    ids, mask = some_ids(2, 6), torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6])
    loss = model(ids, memory=memories, attention_mask=mask, labels=ids).loss
    losses = []
    for row, memory in enumerate(memories):
        own = ids[row][mask[row].bool()]
        logits = model(own, memory=memory).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, own[1:], reduction="none"))
    assert distance(loss, torch.cat(losses).mean()) <= TOLERANCE
    hidden = ids.clone()
    hidden[:, :4] = -100
    rest = model(ids, memory=memories, attention_mask=mask, labels=hidden).loss
    assert distance(rest, torch.cat([one[-2:] for one in losses]).mean()) <= TOLERANCE


@pytest.mark.parametrize("name", ["cache_position", "attention_masks", "max_new_tokens"])
def test_an_argument_that_the_model_does_not_read_is_refused(name: str) -> None:
    """The library drops it without a word."""
    model = make_mplus()
    with pytest.raises(UsageError, match=f"no argument '{name}'"):
        model(PROMPTS[0], memory=model.new_memory(), **{name: 3})


def test_attentions_of_a_fused_model_are_refused() -> None:
    model = make_mplus()
    with pytest.raises(UsageError, match="attn_implementation='eager'"):
        model(PROMPTS[0], memory=model.new_memory(), output_attentions=True)


def test_a_cache_of_another_kind_is_refused() -> None:
    model = make_mplus()
    for cache in (((1, 2),), [], "cache"):
        with pytest.raises(UsageError, match="past_key_values must be a cache"):
            model(PROMPTS[0], memory=model.new_memory(), past_key_values=cache)


@pytest.mark.parametrize("value", [0, -1, 1.5, "a", True, None])
def test_counts_are_whole_numbers_of_at_least_one(value: Any) -> None:
    check_count("max_new_tokens", 1)
    with pytest.raises(ConfigError, match="max_new_tokens"):
        check_count("max_new_tokens", value)


def test_one_memory_serves_every_row_and_none_serves_none() -> None:
    memory = make_mplus().new_memory()
    assert per_row(memory, 2) == [memory, memory]
    assert per_row((memory,), 1) == [memory]
    assert per_row(None, 3) == []
    assert as_batch(torch.tensor([1, 2])).shape == (1, 2)


@pytest.mark.parametrize("model", [None, 5, {"config": 1}, torch.nn.Linear(2, 2)], ids=str)
def test_what_is_no_model_is_refused_by_name(model: Any) -> None:
    with pytest.raises(UsageError, match=r"^model must be a causal language model"):
        MPlus.from_backbone(model, CONFIG)


@pytest.mark.parametrize("config", [None, {"short_term_tokens": 8}, make_model().config], ids=type)
def test_what_is_no_memory_config_is_refused_by_name(config: Any) -> None:
    with pytest.raises(UsageError, match=r"^config must be a MemoryConfig"):
        MPlus.from_backbone(make_model(), config)


@pytest.mark.parametrize("name", [None, 5, b"nano", ["nano"]], ids=str)
def test_what_is_no_name_of_a_model_is_refused_by_name(name: Any) -> None:
    with pytest.raises(UsageError, match=r"^name must be a path or a model's name"):
        MPlus.from_pretrained(name)


@pytest.mark.parametrize("bos", [True, False])
def test_two_chunks_at_once_are_refused_and_nothing_is_written(*, bos: bool) -> None:
    model = make_mplus(config=replace(CONFIG, bos=bos))
    memory, ids = model.new_memory(), some_ids(2, 6)
    for door in (
        lambda: model.write_chunk(memory, ids),
        lambda: model.compress(memory, ids),
        lambda: model.compress(None, ids),
    ):
        with pytest.raises(UsageError, match=r"one chunk, \[T\] or \[1, T\], not \[2, 6\]"):
            door()
    assert not memory.writes


def test_a_chunk_with_ids_outside_the_vocabulary_is_refused() -> None:
    model = make_mplus()
    ids = torch.tensor([1, VOCABULARY])
    for door in (
        lambda: model.compress(None, ids),
        lambda: model.write_chunk(model.new_memory(), ids),
        lambda: model.write(model.new_memory(), ids.tolist()),
    ):
        with pytest.raises(UsageError, match=rf"hold {VOCABULARY}, but token ids of this model"):
            door()


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_an_answer_of_less_than_one_token_is_refused(count: Any) -> None:
    """Zero is a number that was given, not the default."""
    model = make_mplus()
    memory = several(model)[4]
    for ask in (
        lambda: model.ask(memory, "Who?", max_new_tokens=count),
        lambda: model.ask(memory, ["Who?", "Where?"], max_new_tokens=count),
        lambda: model.asker.ask_together(memory, ["Who?"], count),
        lambda: model.generate(PROMPTS[0], memory=memory, max_new_tokens=count),
    ):
        with pytest.raises(ConfigError, match="max_new_tokens cannot be"):
            ask()
