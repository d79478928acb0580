import pytest
from tests.systems.conftest import SHARED

from memplus.errors import EmptyTextError
from memplus.systems.in_prompt import InPromptSystem
from memplus.systems.nothing import BareSystem

QUESTION = "What is red?"


def test_it_answers_as_the_bare_model_does_with_the_text_before_the_question() -> None:
    session = InPromptSystem(SHARED).open(0)
    session.write(["The gate is red.", " It rained."], "text")
    bare = BareSystem(SHARED).open(0)
    prompt = f"The gate is red. It rained.\n\n{QUESTION}"
    assert session.ask([QUESTION], max_new_tokens=6) == bare.ask([prompt], max_new_tokens=6)


def test_of_a_long_text_the_end_is_read_as_far_as_the_positions_go() -> None:
    text = "".join(chr(ord("a") + place % 26) for place in range(1000))
    session = InPromptSystem(SHARED).open(0)
    session.write(text)
    assert session.tokens == session.nbytes == 1000
    model, bare = SHARED.mplus, BareSystem(SHARED).open(0)
    beside = len(model.asker.encode(f"x\n\n{QUESTION}")) - 1 + 6
    kept = text[-(model.core.positions - beside) :]
    expected = bare.ask([f"{kept}\n\n{QUESTION}"], max_new_tokens=6)
    assert session.ask([QUESTION], max_new_tokens=6) == expected
    assert session.ask([QUESTION], max_new_tokens=6) != bare.ask([QUESTION], max_new_tokens=6)


def test_an_empty_question_is_refused() -> None:
    session = InPromptSystem(SHARED).open(0)
    session.write("The gate is red.")
    with pytest.raises(EmptyTextError):
        session.ask([" "])
