import pytest
import torch
from tests.fakes import make_mplus

from memplus.errors import EmptyTextError
from memplus.sessions.conversation import Conversation


def test_turns_that_leave_the_window_are_written_and_nothing_is_lost() -> None:
    model = make_mplus()
    memory = model.new_memory()
    talk = Conversation(model, memory, window=30)
    said = ["The gate is red.", "It rains today.", "What colour is the gate?", "The dog sleeps."]
    turns = [talk.say(text) for text in said]
    assert len(model.encode("".join(turn.text for turn in talk.turns))) <= 30
    talk.close()
    assert talk.turns == []
    everything = sum(len(model.encode(turn.text)) for turn in turns)
    assert memory.tokens + len(memory.tail) == everything
    assert set(memory.source_tokens) == {"chat"}


def test_only_questions_are_answered_without_a_chat_template() -> None:
    model = make_mplus()
    talk = Conversation(model, model.new_memory())
    assert talk.say("The gate is red.").reply == ""
    asked = talk.say("What colour is the gate?")
    assert asked.text.startswith(model.prompt.template.format(question=asked.said))


def test_a_chat_template_is_used_where_there_is_one() -> None:
    model = make_mplus()
    model.tokenizer.chat_template = (
        "^{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    )
    talk = Conversation(model, model.new_memory())
    turn = talk.say("hello")
    # Greedy on the template's text without its first token: what the model itself would say.
    ids = torch.tensor([model.encode("[user]hello")])
    expected = model.generate(
        ids, memory=model.new_memory(), max_new_tokens=model.prompt.max_new_tokens
    )
    text = model.tokenizer.decode(expected[0, ids.shape[1] :], skip_special_tokens=True)
    assert turn.reply == str(text).strip()


def test_an_empty_turn_is_refused() -> None:
    model = make_mplus()
    with pytest.raises(EmptyTextError):
        Conversation(model, model.new_memory()).say("  \n")
