"""A conversation over a memory: recent turns as text, older ones written into the memory.

Every reply retrieves anew. A turn that no longer fits the window is written, so nothing said is
lost; closing the conversation writes what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from memplus.errors import EmptyTextError
from memplus.memory.state import Memory, require_host
from memplus.memory.written_text import require_text
from memplus.mplus.streaming import Pieces, Stream
from memplus.sessions.interrupt import stoppable
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

__all__ = ["Conversation", "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said and what came back."""

    said: str
    reply: str
    """Empty where a statement was taken in and nothing was said to it."""
    text: str
    """Both, as the model reads them later; without a reply that says that there is no note, since
    the next time somebody asks the same it would be the note."""


class Conversation:
    """Talks over one memory; ``sessions.turns`` says how turns are put to the model.

    Args:
        model: the model.
        memory: takes in what leaves the window.
        window: tokens of recent turns that stay text.
        source: under which turns are written.

    Raises:
        UsageError: ``model`` is none.
    """

    def __init__(
        self, model: MPlus, memory: Memory, *, window: int = 256, source: str = "chat"
    ) -> None:
        require_host(model)
        self.model = model
        self.memory = memory
        self.window = window
        self.source = source
        self.turns: list[Turn] = []
        self._begun = 0  # tokens of the oldest turn that its interrupted writing left in the memory

    def say(self, text: str, *, stream: Stream | None = None) -> Turn:
        """Take one turn.

        Args:
            text: what is said.
            stream: called with pieces of the reply as they come; put together they are the reply.

        Raises:
            EmptyTextError: nothing was said.
            BrokenTextError: it is no valid text.
            ChatTemplateError: the model's chat template failed.
            PositionsError: the window does not fit the model.
        """
        require_text(text, "The message")
        said = text.strip()
        if not said:
            raise EmptyTextError("The message")
        answer = self._chat if has_chat_template(self.model) else self._note_or_ask
        turn = answer(said, stream)
        self.turns.append(turn)
        self._make_room()
        return turn

    def close(self) -> None:
        """Write the turns that are still in the window; what fills no chunk becomes the tail."""
        while self.turns:  # one that is refused waits on, and those before it are not said again
            self._write_oldest()

    def _note_or_ask(self, said: str, stream: Stream | None) -> Turn:
        if not is_question(said):
            return Turn(said, "", turn_text(self.model, said, None))
        ids = [*self._window_ids(), *self.model.asker.encode(said)]
        reply = self._generated(ids)
        for stop in self.model.prompt.stop:
            reply = reply.strip().partition(stop)[0]
        reply = reply.strip()
        if stream is not None and reply:
            stream(reply)  # short, and what is cut off it is known at its end only
        kept = None if declines(self.model, reply) else reply
        return Turn(said, reply, turn_text(self.model, said, kept))

    def _chat(self, said: str, stream: Stream | None) -> Turn:
        messages = [m for turn in self.turns for m in _messages(turn)]
        last = {"role": "user", "content": said}
        ids, asking = chat_prompt(self.model, [*messages, last])
        if only_noted(asking, said):
            return Turn(said, "", turn_text(self.model, said, None))
        stops = self.model.prompt.stop if asking else ()
        held = _Held(stream, "" if is_question(said) else self.model.prompt.abstention)
        streamer = None if stream is None else Pieces(self._decoded, stops, held)
        reply = self._generated(ids, streamer=streamer, asking_tokens=asking).strip()
        if asking:
            reply = self.model.asker.until_stop(reply)
        declined = declines(self.model, reply)
        text = turn_text(self.model, said, None if declined else reply)
        if declined and not is_question(said):
            return Turn(said, "", text)  # it has no note of what it is just being told
        held.release()
        return Turn(said, reply, text)

    def _generated(self, ids: list[int], **options: Any) -> str:
        prompt = torch.tensor([ids], device=self.model.device)
        output = self.model.generate(
            prompt,
            memory=self.memory,
            max_new_tokens=self.model.prompt.max_new_tokens,
            **{name: value for name, value in options.items() if value is not None},
        )
        return self._decoded(output[0, prompt.shape[1] :].tolist())

    def _decoded(self, ids: list[int]) -> str:
        return str(self.model.tokenizer.decode(ids, skip_special_tokens=True))

    def _window_ids(self) -> list[int]:
        return self.model.encode("".join(turn.text for turn in self.turns)) if self.turns else []

    def _make_room(self) -> None:
        while self.turns and len(self._window_ids()) > self.window:
            self._write_oldest()

    def _write_oldest(self) -> None:
        """Write the oldest turn and let it go.

        Ctrl-C waits for that; a second one, or an error, ends the writing between two chunks, and
        the next call goes on from there. So no part of a turn reaches the memory twice.
        """
        said: str | list[int] = self.turns[0].text
        if self._begun:
            said = self.model.encode(self.turns[0].text)[self._begun :]
        held = self._held()
        with stoppable() as stopped:
            try:
                if said:
                    self.model.write(self.memory, said, source=self.source)
            except BaseException:
                self._begun += self._held() - held
                raise
            del self.turns[0]
            self._begun = 0
        if stopped():
            raise KeyboardInterrupt

    def _held(self) -> int:
        return self.memory.tokens + len(self.memory.tail)


class _Held:
    """Hands pieces on as soon as all of them together cannot become a certain text."""

    def __init__(self, stream: Stream | None, held_back: str) -> None:
        self._stream = stream
        self._held_back = held_back
        self._waiting = ""

    def __call__(self, piece: str) -> None:
        self._waiting += piece
        if not self._held_back.startswith(self._waiting):
            self._held_back = ""
            self.release()

    def release(self) -> None:
        """Hand on what still waits."""
        if self._stream is not None and self._waiting:
            self._stream(self._waiting)
        self._waiting = ""


def _messages(turn: Turn) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": turn.said},
        {"role": "assistant", "content": turn.reply or NOTED},
    ]
