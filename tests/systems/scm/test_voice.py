import math

import pytest
import torch
from tests.fakes import ADAPTERS, make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.scm.tiny import WIDE

from memplus.backbone.lora import Lora, LoraSizes
from memplus.config import MemoryConfig
from memplus.errors import PositionsError
from memplus.systems.scm.voice import Voice
from memplus.systems.shared import Shared

ADAPTED = Shared(
    lambda: make_mplus(
        config=MemoryConfig(
            **{**SMALL.__dict__, "adapters": ADAPTERS}
        ),
        changes={"max_position_embeddings": 1024},
    )
)  # fmt: skip
TEXT = "The gate is red, and nobody came."


def ids(text: str) -> list[int]:
    return WIDE.mplus.encode(text)


def test_it_answers_as_the_stock_model_does() -> None:
    model = WIDE.mplus
    given = torch.tensor([ids(TEXT)])
    output = model.generate(given, None, max_new_tokens=8)[0, len(TEXT) :]
    wanted = model.tokenizer.decode(output.tolist(), skip_special_tokens=True)
    assert Voice(WIDE).answer(ids(TEXT), 8).generated == wanted


def test_an_answer_that_would_need_all_positions_is_refused() -> None:
    positions = ADAPTED.mplus.positions
    assert Voice(ADAPTED)._end([1, 2, 3], positions - 1) == [3]
    for most in (positions, positions + 1):
        with pytest.raises(PositionsError):
            Voice(ADAPTED).answer([1, 2, 3], most)


def test_next_words_are_those_of_the_plain_base_whatever_answers() -> None:
    words = [Voice(ADAPTED, adapter).next_words([ids(TEXT)])[0] for adapter in ("none", "read")]
    assert torch.equal(*words)
    model = ADAPTED.mplus
    with torch.no_grad():
        read = model(torch.tensor([ids(TEXT)])).logits[0, -1].log_softmax(-1)
        with ADAPTED.adapted("none"):
            plain = model(torch.tensor([ids(TEXT)])).logits[0, -1].log_softmax(-1)
    assert torch.allclose(words[0], plain, atol=1e-4)
    assert not torch.allclose(words[0], read, atol=1e-2)


def test_an_update_changes_next_words_and_is_gone_afterwards() -> None:
    lora = Lora(ADAPTED.mplus.backbone, LoraSizes(2, 4, ("q_proj", "v_proj")))
    with torch.no_grad():
        for up in lora.up:
            up.fill_(0.1)
    plain = Voice(ADAPTED).next_words([ids(TEXT)])[0]
    updated = Voice(ADAPTED, lora=lora).next_words([ids(TEXT)])[0]
    assert not torch.allclose(plain, updated, atol=1e-2)
    assert torch.equal(plain, Voice(ADAPTED).next_words([ids(TEXT)])[0])


def test_words_after_prompts_that_begin_alike_are_those_after_each_alone() -> None:
    voice = Voice(WIDE)
    prompts = [ids(TEXT + end) for end in (" Yes", " No, it was not", " Yes")]
    together = voice.next_words(prompts)
    for found, prompt in zip(together, prompts, strict=True):
        (alone,) = voice.next_words([prompt])
        assert torch.allclose(found, alone, atol=1e-4)
        assert math.isclose(float(found.exp().sum()), 1, abs_tol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    for found, prompt in zip(voice.next_words([ids("a"), ids("b")]), ("a", "b"), strict=True):
        (alone,) = voice.next_words([ids(prompt)])
        assert torch.allclose(found, alone, atol=1e-4)


def test_a_vector_is_the_mean_of_the_middle_layers_outputs() -> None:
    voice = Voice(WIDE)
    found = voice.vector(ids(TEXT))
    assert found.shape == (32,)
    hidden = WIDE.mplus.core.backbone.decoder(
        torch.tensor([ids(TEXT)]), output_hidden_states=True
    ).hidden_states
    assert torch.allclose(found, hidden[2][0].mean(0), atol=1e-5)


def test_a_prompt_that_is_too_long_loses_its_beginning() -> None:
    positions = SHARED.mplus.core.positions
    voice = Voice(SHARED)
    long = ids("x" * 50 + "y" * (positions - 4))
    assert voice.answer(long, 4) == voice.answer(ids("y" * (positions - 4)), 4)


def tokens_read(voice: Voice, asked: list[list[list[int]]], begin: int) -> list[int]:
    """Tokens that the decoder read for each of some prompts."""
    counts: list[int] = []
    decoder = voice.shared.mplus.backbone.decoder
    hook = decoder.register_forward_pre_hook(
        lambda _, args, given: counts.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        found = []
        for prompts in asked:
            counts.clear()
            voice.next_words(prompts, begin)
            found.append(sum(counts))
    finally:
        hook.remove()
    return found


def test_what_later_prompts_begin_with_is_read_once_and_changes_no_number() -> None:
    voice, begin = Voice(WIDE), len(TEXT)
    prompts = [[ids(TEXT + end)] for end in (" Who?", " When was it?", " Who?")]
    whole = [len(one[0]) for one in prompts]
    assert tokens_read(voice, prompts, begin) == [whole[0], *(n - begin for n in whole[1:])]
    assert tokens_read(Voice(WIDE), prompts, 0) == whole
    known, alone = (voice.next_words(prompts[1], at)[0] for at in (begin, 0))
    assert torch.allclose(known, alone, atol=1e-4)
    assert torch.equal(known, Voice(WIDE).next_words(prompts[1], begin)[0])


def test_as_many_beginnings_stay_read_as_fit_into_one_prompt() -> None:
    voice, begin = Voice(WIDE), len(TEXT)
    fit = WIDE.mplus.positions // begin
    many = [[ids(f"{number:04}{TEXT} Who?")] for number in range(fit + 1)]
    first = tokens_read(voice, many, begin)
    for kept in (many[-1:], many[1:2]):
        assert tokens_read(voice, kept, begin)[0] == first[-1] - begin
    assert tokens_read(voice, many[:1], begin)[0] == first[0]
