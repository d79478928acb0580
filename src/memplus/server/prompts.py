"""From the messages of a chat to what the model reads.

``sessions.turns`` says how turns are laid out. What the memory holds already is read as text too as
far as it fits a window; a model without a chat template reads none of it twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from memplus.memory.written_text import require_text
from memplus.server.faults import RequestFault
from memplus.sessions.turns import (
    NOTED,
    chat_prompt,
    declines,
    has_chat_template,
    is_question,
    only_noted,
    turn_text,
)

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = [
    "ROLES",
    "Message",
    "Prompt",
    "Role",
    "check_messages",
    "make_prompt",
    "texts_of",
    "turns_of",
]

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
"""What the roles of clients count as."""


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Role
    text: str
    item: str = ""
    """Id of the item that it is in a conversation which the server keeps; empty: it is in none."""
    link: bytes = b""
    """What that item's turn is called there; empty: it has not been settled yet."""


@dataclass(frozen=True)
class Prompt:
    """What the model reads, and where its answer ends."""

    ids: tuple[int, ...]
    asking: int | None = None
    """How many last ids ask the memory; None: all."""
    stop: tuple[str, ...] = ()
    note: str = ""
    """The answer to a statement that is only to be remembered; the model is not run for it."""
    declined: str = ""
    """An answer in whose place a note stands: to say that one has no note of what one is just
    being told helps nobody."""
    left_out: int = 0
    """Earlier messages that are not read as text, since the memory holds them."""


def turns_of(messages: Sequence[Message]) -> list[Message]:
    """The messages that a conversation is made of: system text and blank ones are none of it."""
    return [one for one in messages if one.role != "system" and one.text.strip()]


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse a chat that nobody can answer, before any work is done.

    Raises:
        RequestFault: there is no user's message, or the last one is blank or the system's.
        BrokenTextError: a message is no valid text.
    """
    for one in messages:
        require_text(one.text, "The message")
    turns = turns_of(messages)
    asked = any(one.role == "user" for one in turns)
    if not asked or not any(one is messages[-1] for one in turns):
        message = "The last message must be a user's, or the beginning of an answer, and not blank."
        raise RequestFault.invalid(message, "messages", "empty_text")


def make_prompt(
    model: MPlus,
    messages: Sequence[Message],
    *,
    held: Collection[Message],
    kept: bool,
    window: int,
) -> Prompt:
    """What the model reads of a chat.

    Args:
        model: the model.
        messages: all, the last one to be answered; ``check_messages`` let them pass.
        held: those that the memory holds, by identity.
        kept: whether the last one will be written.
        window: tokens of held messages that are read as text, too.

    Raises:
        BrokenTextError, ChatTemplateError.
    """
    system = [one for one in messages if one.role == "system"]
    turns = turns_of(messages)
    known = {id(one) for one in held}
    last = turns[-1]
    if not has_chat_template(model):
        return _asked_or_noted(model, turns, known, kept=kept)
    read = _within(model, turns, known, window)
    ids, asking = chat_prompt(
        model, [{"role": one.role, "content": one.text} for one in [*system, *read]]
    )
    stop = model.prompt.stop if asking else ()
    told = kept and last.role == "user" and not is_question(last.text)
    declined = model.prompt.abstention if told else ""
    note = NOTED if told and only_noted(asking, last.text) else ""
    left_out = len(turns) - len(read)
    return Prompt(tuple(ids), asking, stop, note=note, declined=declined, left_out=left_out)


def _asked_or_noted(
    model: MPlus, turns: Sequence[Message], known: Collection[int], *, kept: bool
) -> Prompt:
    """Without a chat template, a question is put in the model's own one."""
    place = max(index for index, one in enumerate(turns) if one.role == "user")
    said = turns[place].text.strip()
    if kept and not is_question(said):
        return Prompt(tuple(model.encode(said)), note=NOTED)
    before = _new_turns(turns[:place], known)
    text = "".join(texts_of(model, before))
    ids = [*(model.encode(text) if text else []), *model.asker.encode(said)]
    left_out = place - len(before)
    return Prompt(tuple(ids), None, model.prompt.stop, left_out=left_out)


def _new_turns(turns: Sequence[Message], known: Collection[int]) -> list[Message]:
    """Turns that the memory does not hold; a reply goes with what it replies to."""
    found: list[Message] = []
    held = False
    for one in turns:
        held = id(one) in known if one.role == "user" else held or id(one) in known
        if not held:
            found.append(one)
    return found


def _within(
    model: MPlus, turns: Sequence[Message], known: Collection[int], window: int
) -> list[Message]:
    """The newest turns that fit the window, and all before them that the memory does not hold."""
    left = window
    for place in range(len(turns) - 1, 0, -1):
        left -= len(model.encode(turns[place - 1].text))
        if left < 0:
            return [*_new_turns(turns[:place], known), *turns[place:]]
    return list(turns)


def texts_of(model: MPlus, turns: Sequence[Message]) -> list[str]:
    """Turns as the model reads them later, one text for each exchange."""
    found: list[str] = []
    waiting = ""
    for one in turns:
        text = one.text.strip()
        if one.role == "user":
            if waiting:
                found.append(turn_text(model, waiting, None))
            waiting = text
            continue
        reply = None if text == NOTED or declines(model, text) else text
        if waiting or reply is not None:
            found.append(turn_text(model, waiting, reply))
        waiting = ""
    if waiting:
        found.append(turn_text(model, waiting, None))
    return found
