from __future__ import annotations

import pytest
from tests.fakes import make_mplus
from tests.sessions.chatml import PREAMBLE, TURN, chatml

from memplus import MPlus
from memplus.sessions.turns import chat_prompt, declines, is_question, turn_text


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_turn_reads_as_the_model_was_trained_to_read_it() -> None:
    plain, chat = make_mplus(), chatml()
    assert turn_text(plain, "The gate is red.", None) == " The gate is red."
    assert turn_text(plain, "Why?", None) == " Why?\n"
    assert turn_text(plain, "Why?", "So.") == plain.prompt.filled("Why?") + " So.\n"
    assert turn_text(chat, "Hi\nyou", "Yes\nme") == "User: Hi\n  you\nAssistant: Yes\n  me\n"
    assert turn_text(chat, "Hi", None) == "User: Hi\n"


@pytest.mark.parametrize(
    ("model", "text"), [(make_mplus(), " So.\n"), (chatml(), "Assistant: So.\n")]
)
def test_a_reply_alone_can_be_remembered(model: MPlus, text: str) -> None:
    assert turn_text(model, "", "So.") == text


def test_questions_and_refusals_are_told_from_others() -> None:
    assert is_question("Why? ")
    assert not is_question("Why? I ask.")
    model = make_mplus()
    assert declines(model, " i have no note of that")
    assert not declines(model, "I have it.")


def test_the_last_message_asks_the_memory_behind_earlier_turns_and_system_text() -> None:
    model = chatml()
    own = TURN.replace("{question}", "And now?")
    said = [user("Hi"), {"role": "assistant", "content": "Yes"}, user("And now?")]
    ids, asking = chat_prompt(model, said)
    assert not model.decode(ids).startswith(PREAMBLE)
    assert model.decode(ids[-(asking or 0) :]) == own
    ids, asking = chat_prompt(model, [{"role": "system", "content": "Be brief."}, *said])
    assert "Be brief." in model.decode(ids)
    assert model.decode(ids[-(asking or 0) :]) == own


def test_the_beginning_of_an_answer_asks_with_all_of_the_conversation() -> None:
    model = chatml()
    ids, asking = chat_prompt(model, [user("Hi"), {"role": "assistant", "content": "Well"}])
    assert asking is None
    assert "Well" in model.decode(ids)
