import pytest
from tests.systems.conftest import SHARED

from memplus.errors import EmptyTextError
from memplus.systems.full_context import FullContextSystem
from memplus.systems.nothing import BareSystem

QUESTION = "What is red?"


def test_it_answers_as_the_bare_model_does_with_the_text_before_the_question() -> None:
    session = FullContextSystem(SHARED).open(0)
    session.write(["The gate is red.", " It rained."], "text")
    bare = BareSystem(SHARED).open(0)
    prompt = f"The gate is red. It rained.\n\n{QUESTION}"
    assert session.ask([QUESTION], max_new_tokens=6) == bare.ask([prompt], max_new_tokens=6)


def test_an_empty_question_is_refused() -> None:
    session = FullContextSystem(SHARED).open(0)
    session.write("The gate is red.")
    with pytest.raises(EmptyTextError):
        session.ask([" "])
