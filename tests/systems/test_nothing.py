import torch
from tests.systems.conftest import SHARED

from memplus.systems.nothing import BareSystem, NothingSystem

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
