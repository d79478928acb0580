from typing import Any

import pytest
import torch
from tests.fakes import make_model, make_tokenizer
from tests.systems.conftest import SHARED, SMALL
from torch.nn.functional import cross_entropy

from memplus import MPlus
from memplus.backbone.lora import Lora, LoraSizes, under
from memplus.config import PromptConfig
from memplus.errors import EmptyTextError, TokenizerMissingError
from memplus.systems.protocol import ChatPrompt, Explains, Placed
from memplus.systems.registry import make_systems, usual_systems
from memplus.systems.shared import (
    Adapter,
    Alone,
    Shared,
    answer_from_prompt,
    device_name,
    log_likelihoods,
)
from memplus.systems.triples.decoding import Continuation


def test_the_model_is_loaded_once_and_not_before_it_is_needed() -> None:
    loaded: list[int] = []

    def load() -> MPlus:
        loaded.append(1)
        return SHARED.mplus

    shared = Shared(load)
    assert not loaded
    assert shared.mplus is shared.mplus
    assert shared.reference(["a"]) == [[1]]
    assert loaded == [1]


def test_a_device_is_called_what_people_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (system,) = make_systems(["nothing"], SHARED)
    assert isinstance(system, Placed)
    assert system.device == "CPU"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device_name(torch.device("cuda:1")) == "GPU 1"


def test_the_reference_says_where_each_token_ends() -> None:
    texts = ["The gate.", "", " Grün\n "]
    found = SHARED.reference(texts)
    assert [len(ends) for ends in found] == [len(SHARED.mplus.encode(text)) for text in texts]
    assert found[0] == list(range(1, 10))
    assert found[2][-1] == len(texts[2])
    assert found[2][3:5] == [4, 4]


def test_what_spells_a_control_token_is_text_to_every_system() -> None:
    model, texts = SHARED.mplus, ["The <end> of it.", "plain", "<begin>", ""]
    plain = [model.encode(text) if text else [] for text in texts]
    assert SHARED.encode(texts) == [token for ids in plain for token in ids]
    assert [len(ends) for ends in SHARED.reference(texts)] == [len(ids) for ids in plain]
    assert SHARED.reference(texts)[0][-1] == len(texts[0])
    assert Continuation(model.core, None).encode(texts[0]) == plain[0]
    end = model.tokenizer.eos_token_id
    assert end not in SHARED.encode(texts)
    memory = model.new_memory()
    model.write(memory, texts[0])
    session = make_systems(["mplus"], SHARED)[0].open(0)
    session.write([texts[0]], "a")
    assert session.tokens == memory.tokens + len(memory.tail)


def test_a_tokenizer_that_knows_no_places_is_asked_by_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["The gate is red.", "", "\n two"]
    fast = SHARED.reference(texts)
    monkeypatch.setattr(type(SHARED.mplus.tokenizer), "is_fast", False)
    assert Shared(lambda: SHARED.mplus).reference(texts) == fast


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("nothing", "model"),
        ("full_context", "adapted"),
        ("full_context:adapter=none", "base"),
        ("bare", "base"),
        ("bare:adapter=read", "adapted"),
    ],
)
def test_a_system_is_known_by_the_part_of_the_model_that_answers(spec: str, part: str) -> None:
    (system,) = make_systems([spec], SHARED)
    assert [one for one in ("model", "adapted", "base") if one in system.identity] == [part]


def test_pieces_are_encoded_each_by_itself() -> None:
    pieces = ["The ", "gate", ""]
    assert SHARED.encode(pieces) == SHARED.mplus.encode("The gate")
    assert SHARED.encode([]) == []


def test_without_a_tokenizer_there_is_no_reference() -> None:
    bare = MPlus.from_backbone(make_model(), SMALL)
    with pytest.raises(TokenizerMissingError):
        _ = Shared(lambda: bare).reference


def test_a_likelihood_is_the_stock_loss() -> None:
    model = SHARED.mplus
    memory = model.new_memory(0)
    model.write(memory, "The keeper slept by the gate.")
    ids = torch.tensor([model.encode("It is red.")])
    logits = model(ids, memory=memory).logits[0, :-1]
    loss = cross_entropy(logits, ids[0, 1:], reduction="sum")
    ((found, count),) = log_likelihoods(SHARED, memory, [], ["It is red."])
    assert count == ids.shape[1] - 1
    assert found == pytest.approx(-float(loss.detach()), rel=1e-5)


def test_options_read_together_are_as_likely_as_each_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = SHARED.mplus
    memory = model.new_memory(0)
    model.write(memory, "The keeper slept by the gate.")
    given, options = model.encode("It is"), ["a", "b", " a", " b", " red"]
    alone = [log_likelihoods(SHARED, memory, given, [option])[0] for option in options]
    passes: list[int] = []
    forward = MPlus.forward

    def counted(self: MPlus, *args: Any, **kwargs: Any) -> Any:
        passes.append(1)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(MPlus, "forward", counted)
    found = log_likelihoods(SHARED, memory, given, options)
    assert len(passes) == 3, "the letters, the letters behind a blank, the word"
    assert [count for _, count in found] == [count for _, count in alone]
    for (together, _), (single, _) in zip(found, alone, strict=True):
        assert together == pytest.approx(single, abs=1e-5)
    with pytest.raises(EmptyTextError):
        log_likelihoods(SHARED, memory, [], ["ab", "a"])


@pytest.mark.parametrize("adapter", ["read", "none"])
@pytest.mark.parametrize("ahead", [[], [5, 6, 7]])
def test_without_a_memory_a_prompt_is_read_once_for_all_options(
    monkeypatch: pytest.MonkeyPatch, adapter: Adapter, ahead: list[int]
) -> None:
    model = SHARED.mplus
    given, options = model.encode("The keeper slept. It is"), [" a", " b", " red", " blue and"]
    way = Alone(adapter)
    single = [
        log_likelihoods(SHARED, None, given, [one], ahead=ahead, alone=way)[0] for one in options
    ]
    read: list[int] = []
    forward = MPlus.forward

    def counted(self: MPlus, ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        read.append(ids.shape[1])
        return forward(self, ids, *args, **kwargs)

    monkeypatch.setattr(MPlus, "forward", counted)
    together = log_likelihoods(SHARED, None, given, options, ahead=ahead, alone=way)
    longest = max(len(model.encode(one)) for one in options)
    assert read[0] == len(ahead) + len(given) - 1
    assert max(read[1:]) == 1 + longest
    for one, other in zip(together, single, strict=True):
        assert one[1] == other[1]
        assert one.greedy == other.greedy
        assert one[0] == pytest.approx(other[0], abs=1e-4)


def test_declining_is_what_the_models_own_prompt_says_it_is() -> None:
    usual = SHARED.mplus.prompt.abstention
    prompt = PromptConfig(abstention="No idea.")
    model = MPlus.from_backbone(make_model(), SMALL, tokenizer=make_tokenizer(), prompt=prompt)
    shared = Shared(model.eval)
    for system in usual_systems(shared):
        assert system.declines("no idea")
        assert not system.declines(usual)
        (reply,) = system.open(0).ask(["What is red?"], max_new_tokens=2)
        assert not reply.declined
    session = usual_systems(shared)[0].open(0)
    assert isinstance(session, Explains)
    (unsure,) = session.explain(["What is red?"], min_confidence=1.0)
    assert (unsure.text, unsure.declined) == ("No idea.", True)


def test_what_is_read_alone_can_be_read_under_an_update() -> None:
    backbone = SHARED.mplus.backbone
    lora = Lora(backbone, LoraSizes(rank=2, alpha=8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for up in lora.up:
            up.fill_(0.3)
    ids = SHARED.prompt_ids(ChatPrompt("What is red?"))
    with torch.no_grad(), under(backbone, lora):
        logits = backbone.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    alone = Alone("none", lora=lora)
    (found,) = log_likelihoods(SHARED, None, ids, ["x"], alone=alone)
    (wanted,) = SHARED.mplus.encode("x")
    assert found[0] == pytest.approx(float(logits.log_softmax(-1)[wanted]), abs=1e-4)
    # Options that go on differently: the prompt is read once for both, under the update too.
    several = log_likelihoods(SHARED, None, ids, ["x", " red"], alone=alone)
    (single,) = log_likelihoods(SHARED, None, ids, [" red"], alone=alone)
    assert [one[0] for one in several] == pytest.approx([found[0], single[0]], abs=1e-4)
    reply = answer_from_prompt(SHARED, ids, 1, alone=alone)
    best = SHARED.mplus.tokenizer.decode([int(logits.argmax())], skip_special_tokens=True)
    assert reply.generated == best
    assert log_likelihoods(SHARED, None, ids, ["x"], alone=Alone("none")) != [found]


def test_a_prompt_stands_as_it_is_and_a_question_in_the_models_template() -> None:
    model = SHARED.mplus
    assert SHARED.prompt_ids("") == []
    assert SHARED.prompt_ids("Red is", "The gate. ") == model.encode("The gate. Red is")
    question = ChatPrompt("What is red? ", answer_start=" The")
    assert SHARED.prompt_ids(question) == [
        *model.asker.encode("What is red?"),
        *model.encode(" The"),
    ]
    assert SHARED.prompt_ids(question, "A gate.")[: -len(model.encode(" The"))] == (
        model.asker.encode("A gate.\n\nWhat is red?")
    )
    with pytest.raises(EmptyTextError):
        SHARED.prompt_ids(ChatPrompt(" "))


def test_two_of_one_kind_with_other_options_are_told_apart_in_a_table() -> None:
    plain, bare = make_systems(["full_context", "full_context:adapter=none"], SHARED)
    assert (plain.title, bare.title) == ("full context", "full context (adapter=none)")
