"""How turns of a conversation are put to a model, and how a memory reads them later.

A model with a chat template gets it. Where the prompt of the model's memory is a turn of that
template, a conversation is made of such turns alone: what the template puts before the first one
(a system message of its own) no training of the memory has seen. The last message then asks the
long-term memory, not the turns before it.

Without a chat template, a question is put in the model's own template and anything else is a
statement to remember. With one, what plainly tells something is noted where the memory's prompt is
that of questions; anything else is answered by the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memplus.data.wording import same_wording
from memplus.mplus.encoding import chat_ids
from memplus.sessions.telling import tells

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = [
    "NOTED",
    "chat_prompt",
    "declines",
    "has_chat_template",
    "is_question",
    "only_noted",
    "turn_text",
]


NOTED = "Noted."
"""What is said to a statement, for which the model has no answer."""


def has_chat_template(model: MPlus) -> bool:
    """Whether the model's tokenizer knows how a conversation is laid out."""
    return bool(getattr(model.tokenizer, "chat_template", None))


def is_question(said: str) -> bool:
    """Whether it asks for something, rather than tells it."""
    return said.rstrip().endswith("?")


def only_noted(asking: int | None, said: str) -> bool:
    """Whether a turn that will be written is answered with a note, without asking the model.

    Args:
        asking: as ``chat_prompt`` tells it. Where the last message asks the memory by itself, the
            model has learned to answer questions there, and takes a statement for one.
        said: by the user.
    """
    return asking is not None and tells(said)


def declines(model: MPlus, reply: str) -> bool:
    """Whether a reply says that there is no note."""
    return same_wording(reply, model.prompt.abstention)


def turn_text(model: MPlus, said: str, reply: str | None) -> str:
    """A turn as the model reads it later.

    Args:
        model: the model.
        said: by the user; empty where only the reply is to be remembered.
        reply: None where it is not to be remembered: one that says that there is no note would be
            the note the next time that somebody asks the same.
    """
    if has_chat_template(model):
        asked = f"User: {_indented(said)}\n" if said else ""
        return asked if reply is None else f"{asked}Assistant: {_indented(reply)}\n"
    if not said:
        return f" {reply}\n"
    if not is_question(said):
        return f" {said}"
    return f" {said}\n" if reply is None else f"{model.prompt.filled(said)} {reply}\n"


def chat_prompt(model: MPlus, messages: Sequence[dict[str, str]]) -> tuple[list[int], int | None]:
    """Token ids of a conversation in the model's chat template, and what of them asks the memory.

    Args:
        model: has a chat template.
        messages: ``role`` and ``content`` each; the last one is to be replied to.

    Returns:
        The ids, and how many last ones ask the memory; None: all of them.

    Raises:
        BrokenTextError: a message is no valid text.
        ChatTemplateError: the template refused the messages, or failed.
    """
    last = messages[-1]
    ids = chat_ids(model.tokenizer, messages, model.name)
    if last["role"] == "user" and last["content"].strip():
        alone = chat_ids(model.tokenizer, [last], model.name)
        own = model.asker.encode(last["content"])
        before = len(alone) - len(own)
        if alone[before:] == own and ids[:before] == alone[:before]:
            return ids[before:], len(own)
        if alone[before:] == own and ids[-len(own) :] == own:  # behind a system message
            return _without_bos(model, ids), len(own)
    return _without_bos(model, ids), None


def _without_bos(model: MPlus, ids: list[int]) -> list[int]:
    """Ids without the bos token of the template, in whose place the memory's own one stands.

    A template that does not name bos begins with a token of its own, even if that token is
    what the tokenizer calls bos (SmolLM2's ``<|im_start|>``).
    """
    tokenizer = model.tokenizer
    named = "bos_token" in str(tokenizer.chat_template)
    begins = model.memory_config.bos and named and ids[:1] == [tokenizer.bos_token_id]
    return ids[1:] if begins else ids


def _indented(text: str) -> str:
    """Lines after the first stand further in, so that none of them looks like another turn."""
    return text.replace("\n", "\n  ")
