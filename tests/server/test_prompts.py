from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes import make_mplus
from tests.sessions.chatml import PREAMBLE, TURN, chatml

from memplus import MPlus
from memplus.errors import BrokenTextError
from memplus.server.faults import RequestFault
from memplus.server.prompts import Message, Prompt, check_messages, make_prompt, texts_of, turns_of

GATE, NOTED = Message("user", "The gate is red."), Message("assistant", "Noted.")
ASKED = Message("user", "What colour is the gate?")
SYSTEM = Message("system", "Be brief.")


def prompt(
    model: MPlus,
    *messages: Message,
    held: tuple[Message, ...] = (),
    window: int = 1000,
    kept: bool = True,
) -> Prompt:
    return make_prompt(model, messages, held=held, kept=kept, window=window)


def test_without_a_chat_template_a_question_is_put_in_the_models_own_one() -> None:
    model = make_mplus()
    made = prompt(model, SYSTEM, ASKED)
    assert list(made.ids) == model.asker.encode(ASKED.text)
    assert made.stop == model.prompt.stop
    assert not made.note


def test_without_a_chat_template_a_statement_is_noted_only_if_it_is_kept() -> None:
    model = make_mplus()
    assert prompt(model, GATE).note == "Noted."
    made = prompt(model, GATE, kept=False)
    assert not made.note
    assert list(made.ids) == model.asker.encode(GATE.text)


def test_without_a_chat_template_what_the_memory_holds_is_not_read_twice() -> None:
    model = make_mplus()
    made = prompt(model, GATE, NOTED, ASKED)
    assert model.decode(list(made.ids)).startswith(" The gate is red.")
    assert made.left_out == 0
    made = prompt(model, GATE, NOTED, ASKED, held=(GATE,))
    assert list(made.ids) == model.asker.encode(ASKED.text)
    assert made.left_out == 2


def test_with_a_chat_template_turns_are_its_turns_and_system_text_stands_before_them() -> None:
    model = chatml()
    made = prompt(model, GATE, NOTED, ASKED)
    text = model.decode(list(made.ids))
    assert text.startswith("<|im_start|>user\nThe gate")
    assert PREAMBLE not in text
    assert made.asking == len(model.asker.encode(ASKED.text))
    assert made.stop == ("\n",)
    text = model.decode(list(prompt(model, SYSTEM, ASKED).ids))
    assert "<|im_start|>system\nBe brief." in text
    assert text.endswith(TURN.replace("{question}", ASKED.text))


def test_what_the_memory_holds_is_read_as_text_as_far_as_the_window_goes() -> None:
    model = chatml()
    old, new = Message("user", "The dog is called Rex."), Message("user", "It rains.")
    messages = (old, NOTED, GATE, NOTED, new, ASKED)
    held = (old, GATE)
    assert prompt(model, *messages, held=held).left_out == 0
    made = prompt(model, *messages, held=held, window=0)
    text = model.decode(list(made.ids))
    assert made.left_out == 4
    assert "Rex" not in text
    assert "gate is" not in text
    assert "It rains." in text  # the memory does not hold it
    window = len(model.encode(GATE.text + NOTED.text + new.text))
    made = prompt(model, *messages, held=held, window=window)
    text = model.decode(list(made.ids))
    assert made.left_out == 2
    assert "Rex" not in text
    assert "gate is" in text


def test_equal_messages_are_told_apart() -> None:
    model, twin = chatml(), Message("user", GATE.text)
    assert prompt(model, GATE, NOTED, twin, ASKED, held=(GATE,), window=0).left_out == 2


def test_a_refusal_of_what_one_is_being_told_is_held_back() -> None:
    model, unclear = chatml(), Message("user", "The gate, red.")
    assert prompt(model, unclear).declined == model.prompt.abstention
    assert prompt(model, unclear, kept=False).declined == prompt(model, ASKED).declined == ""


def test_what_plainly_tells_something_is_noted_only_if_it_is_kept() -> None:
    model = chatml()
    assert prompt(model, GATE).note == NOTED.text
    assert prompt(model, GATE, kept=False).note == prompt(model, ASKED).note == ""
    assert prompt(model, Message("user", "Tell me of the gate.")).note == ""
    model.prompt = replace(model.prompt, template="Q: {question}\nA:")
    assert prompt(model, GATE).note == ""


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (SYSTEM,),
        (NOTED,),
        (GATE, SYSTEM),
        (Message("user", "  "),),
        (GATE, Message("user", "")),
    ],
)
def test_nothing_to_answer_is_refused(messages: tuple[Message, ...]) -> None:
    with pytest.raises(RequestFault) as error:
        check_messages(messages)
    assert error.value.fault.param == "messages"


def test_half_a_character_is_refused_wherever_it_stands() -> None:
    with pytest.raises(BrokenTextError):
        check_messages([Message("system", "\ud800"), ASKED])


def test_texts_for_the_memory_go_by_exchanges() -> None:
    model = chatml()
    said = Message("assistant", "It is red.")
    texts = texts_of(model, [GATE, ASKED, said, Message("assistant", "Indeed.")])
    assert texts == [
        "User: The gate is red.\n",
        "User: What colour is the gate?\nAssistant: It is red.\n",
        "Assistant: Indeed.\n",
    ]
    assert texts_of(model, [GATE, NOTED]) == ["User: The gate is red.\n"]
    refusal = Message("assistant", model.prompt.abstention)
    assert texts_of(model, [refusal]) == []


def test_blank_messages_and_system_text_are_no_turns() -> None:
    assert turns_of([SYSTEM, GATE, Message("assistant", " "), ASKED]) == [GATE, ASKED]
