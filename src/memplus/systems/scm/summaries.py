"""Summaries of turns, made when they are first needed (2304.13343)."""

from __future__ import annotations

from memplus.systems.protocol import ChatPrompt
from memplus.systems.scm.prompts import summary_of
from memplus.systems.scm.stream import Chunk, shortened
from memplus.systems.scm.voice import Voice

__all__ = ["Summaries"]

_LONGEST = 96
"""New tokens of a summary."""


class Summaries:
    """Makes summaries, each once; what is made follows from the text and from who spoke in it.

    Args:
        voice: the model that makes them.
        above: a turn of at most so many tokens is its own summary.
    """

    def __init__(self, voice: Voice, above: int) -> None:
        self.voice = voice
        self.above = above
        self._made: dict[tuple[str, bool], str] = {}

    def of(self, chunk: Chunk, text: str, tokens: int) -> str:
        """The summary of a turn: its text itself where that is short.

        Args:
            chunk: what was told.
            text: of the turn, with its number.
            tokens: of that text.
        """
        if tokens <= self.above:
            return text
        made = text, bool(chunk.response)
        if made not in self._made:
            self._made[made] = self._new(chunk, text)
        return self._made[made]

    def _new(self, chunk: Chunk, text: str) -> str:
        shared = self.voice.shared
        wish = summary_of(text, 2 if chunk.response else 1)
        said = self.voice.answer(shared.prompt_ids(ChatPrompt(wish)), _LONGEST).generated
        if not said.strip():  # a model that has nothing to say: the turn's own beginning
            (ends,) = shared.reference([text])
            said = shortened(text, ends, _LONGEST)
        number, _, _ = text.partition("\n")
        return f"{number}\n{said.strip()}"
