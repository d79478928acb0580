from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, make_model, make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus.systems.nothing import BareOptions, BareSystem, NothingSystem
from memplus.systems.protocol import ChatPrompt
from memplus.systems.shared import Shared

QUESTION = "What is red?"


def test_nothing_answers_as_a_new_memory() -> None:
    session = NothingSystem(SHARED).open(5)
    session.write("The gate is red.", "text")
    alone = SHARED.mplus.ask(SHARED.mplus.new_memory(5), QUESTION, max_new_tokens=4)
    assert session.ask([QUESTION], max_new_tokens=4)[0].text == alone.text


def test_bare_answers_as_the_model_without_a_memory() -> None:
    model = SHARED.mplus
    session = BareSystem(SHARED).open(5)
    session.write("The gate is red.", "text")
    ids = torch.tensor([model.asker.encode(QUESTION)])
    output = model.generate(ids, max_new_tokens=4)[0, ids.shape[1] :]
    assert session.ask([QUESTION], max_new_tokens=4)[0].generated == model.decode(output.tolist())


ADAPTED = Shared(lambda: make_mplus(config=replace(SMALL, adapters=ADAPTERS)))
PROMPTS = [ChatPrompt("What is red?", " It is"), "The gate is"]


@torch.no_grad()
def test_bare_is_the_stock_model_whatever_adapters_there_are() -> None:
    plain, session = make_model(), BareSystem(ADAPTED).open(0)
    found = [group[0] for group in session.score(PROMPTS, [[" red"]] * 2)]
    for prompt, (value, count) in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([ADAPTED.prompt_ids(prompt) + ADAPTED.mplus.encode(" red")])
        logits = plain(ids).logits[0, -count - 1 : -1].log_softmax(-1)
        expected = logits.gather(1, ids[0, -count:, None]).sum()
        assert value == pytest.approx(float(expected), rel=1e-4)
    reading = BareSystem(ADAPTED, BareOptions(adapter="read")).open(0)
    assert [group[0] for group in reading.score(PROMPTS, [[" red"]] * 2)] != found
    said = session.ask([QUESTION], max_new_tokens=6)
    assert said != reading.ask([QUESTION], max_new_tokens=6)
    assert session.fork().ask([QUESTION], max_new_tokens=6) == said


def test_nothing_has_likelihoods_of_questions_too() -> None:
    session = NothingSystem(SHARED).open(5)
    for prompt in PROMPTS:
        ((value, count),) = session.score([prompt], [[" red"]])[0]
        assert count == 4
        assert value < 0
