"""A conversation over a memory: recent turns as text, older ones written into the memory.

Every reply retrieves anew. A turn that no longer fits the window is written, so nothing said is
lost; closing the conversation writes what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from memplus.errors import EmptyTextError
from memplus.memory.state import Memory
from memplus.mplus.encoding import chat_ids, require_text

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["Conversation", "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said and what came back."""

    said: str
    reply: str
    text: str
    """Both, as the model reads them later."""


class Conversation:
    """Talks over one memory.

    A model with a chat template gets it. Without one, a question is put in the model's own
    template and anything else is taken as a statement to remember.

    Args:
        model: the model.
        memory: takes in what leaves the window.
        window: tokens of recent turns that stay text.
        source: under which turns are written.
    """

    def __init__(
        self, model: MPlus, memory: Memory, *, window: int = 256, source: str = "chat"
    ) -> None:
        self.model = model
        self.memory = memory
        self.window = window
        self.source = source
        self.turns: list[Turn] = []

    def say(self, text: str) -> Turn:
        """Take one turn.

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
        turn = self._chat(said) if self._has_chat_template else self._note_or_ask(said)
        self.turns.append(turn)
        self._make_room()
        return turn

    def close(self) -> None:
        """Write the turns that are still in the window; what fills no chunk becomes the tail."""
        for turn in self.turns:
            self.model.write(self.memory, turn.text, source=self.source)
        self.turns = []

    @property
    def _has_chat_template(self) -> bool:
        return bool(getattr(self.model.tokenizer, "chat_template", None))

    def _note_or_ask(self, said: str) -> Turn:
        if not said.endswith("?"):
            return Turn(said, "", f" {said}")
        reply = self._generated([*self._window_ids(), *self.model.asker.encode(said)])
        for stop in self.model.prompt.stop:
            reply = reply.strip().partition(stop)[0]
        prompt = self.model.prompt.filled(said)
        return Turn(said, reply.strip(), f"{prompt} {reply.strip()}\n")

    def _chat(self, said: str) -> Turn:
        messages = [m for turn in self.turns for m in _messages(turn.said, turn.reply)]
        messages.append({"role": "user", "content": said})
        ids = chat_ids(self.model.tokenizer, messages, self.model.name)
        reply = self._generated(ids[1:] if self._begins_with_bos(ids) else ids).strip()
        return Turn(said, reply, f"User: {_indented(said)}\nAssistant: {_indented(reply)}\n")

    def _begins_with_bos(self, ids: list[int]) -> bool:
        """Whether the template wrote a bos token, in whose place the memory's own one stands.

        A template that does not name bos begins with a token of its own, even if that token is
        what the tokenizer calls bos (SmolLM2's ``<|im_start|>``).
        """
        tokenizer = self.model.tokenizer
        named = "bos_token" in str(tokenizer.chat_template)
        return self.model.memory_config.bos and named and ids[:1] == [tokenizer.bos_token_id]

    def _generated(self, ids: list[int]) -> str:
        prompt = torch.tensor([ids], device=self.model.device)
        output = self.model.generate(
            prompt, memory=self.memory, max_new_tokens=self.model.prompt.max_new_tokens
        )
        new = output[0, prompt.shape[1] :].tolist()
        return str(self.model.tokenizer.decode(new, skip_special_tokens=True))

    def _window_ids(self) -> list[int]:
        return self.model.encode("".join(turn.text for turn in self.turns)) if self.turns else []

    def _make_room(self) -> None:
        while self.turns and len(self._window_ids()) > self.window:
            self.model.write(self.memory, self.turns[0].text, source=self.source)
            del self.turns[0]


def _indented(text: str) -> str:
    """Lines after the first stand further in, so that none of them looks like another turn."""
    return text.replace("\n", "\n  ")


def _messages(said: str, reply: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]
