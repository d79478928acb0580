import pytest
from tests.systems.scm.tiny import WIDE

from memplus.systems.protocol import ChatPrompt
from memplus.systems.scm.controller import Controller, Margins, Thresholds
from memplus.systems.scm.prompts import ANSWER_START, LETTERS, question_two
from memplus.systems.scm.voice import Voice

MARGINS = Margins(Voice(WIDE))
QUESTION = "What is red?"
CONTENT = "The gate is red, and nobody came."


def lean(user: str) -> float:
    voice = MARGINS.voice
    # Tokens are bytes, so both letters begin with the same one.
    (words,) = voice.next_words([WIDE.prompt_ids(ChatPrompt(user, f"{ANSWER_START} "))])
    a, b = (WIDE.mplus.encode(letter)[1] for letter in LETTERS)
    return float(words[a] - words[b])


def test_a_margin_is_the_mean_over_both_orders_of_the_letters() -> None:
    yes_first, no_first = question_two(CONTENT, QUESTION)
    wanted = (lean(yes_first) - lean(no_first)) / 2
    assert MARGINS.answers(CONTENT, [QUESTION]) == pytest.approx([wanted], abs=1e-4)


def test_questions_about_one_text_are_judged_together_as_each_alone() -> None:
    questions = [QUESTION, "Who came?", "Where is the boat?"]
    alone = [MARGINS.answers(CONTENT, [one])[0] for one in questions]
    assert MARGINS.answers(CONTENT, questions) == pytest.approx(alone, abs=1e-4)
    assert len(set(alone)) == 3


def test_yes_is_a_margin_that_reaches_the_threshold_of_its_question() -> None:
    gate, (answers,) = MARGINS.gate(QUESTION), MARGINS.answers(CONTENT, [QUESTION])
    at = Controller(MARGINS, Thresholds(gate - 0.01, answers - 0.01))
    above = Controller(MARGINS, Thresholds(gate + 0.01, answers + 0.01))
    assert at.needs_memory(QUESTION)
    assert at.answers(CONTENT, QUESTION)
    assert not above.needs_memory(QUESTION)
    assert not above.answers(CONTENT, QUESTION)
    assert above.asked == 2


def test_without_a_model_the_answer_is_yes_and_nothing_is_asked() -> None:
    controller = Controller(None, Thresholds(99, 99))
    assert controller.needs_memory(QUESTION)
    assert controller.answers(CONTENT, QUESTION)
    assert controller.asked == 0
