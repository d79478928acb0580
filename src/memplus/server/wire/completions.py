"""Completions of plain prompts: what evaluation harnesses send, and what they read."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, StrictInt

from memplus.server.engine.requests import TokenScore
from memplus.server.faults import RequestFault
from memplus.server.wire.chat import StreamOptions
from memplus.server.wire.fields import Sampled, refuse
from memplus.server.wire.sound import FIRST

__all__ = ["Columns", "CompletionRequest"]

_MOST_PROMPTS = 128


class CompletionRequest(Sampled):
    """``POST /v1/completions``."""

    prompt: (
        str
        | Annotated[list[str], FIRST]
        | Annotated[list[StrictInt], FIRST]
        | Annotated[list[Annotated[list[StrictInt], FIRST]], FIRST]
    ) = ""
    max_tokens: int | None = Field(default=None, ge=0)
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)
    suffix: str | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None

    def check(self) -> None:
        """Refuse what is not served and would change the answer.

        Raises:
            RequestFault: with the field's name.
        """
        for name in ("n", "best_of"):
            if getattr(self, name) not in (None, 1):
                message = f"{name} is 1: one answer at a time."
                raise RequestFault.invalid(message, name, "unsupported")
        refuse("suffix", self.suffix, "text is only added at the end")
        reason = "tokens are chosen by temperature and top_p alone"
        refuse("frequency_penalty", self.frequency_penalty, reason)
        refuse("presence_penalty", self.presence_penalty, reason)
        refuse("logit_bias", self.logit_bias, reason)
        if self.stream and len(self.prompts) != 1:
            raise RequestFault.invalid("A stream answers one prompt.", "prompt")

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as text or as token ids.

        Raises:
            RequestFault: there are none, too many, or an empty one.
        """
        given = self.prompt
        if isinstance(given, str) or (given and isinstance(given[0], int)):
            found: list[Any] = [given]
        else:
            found = list(given)
        if not 1 <= len(found) <= _MOST_PROMPTS or not all(found):
            message = f"1 to {_MOST_PROMPTS} prompts, none empty."
            raise RequestFault.invalid(message, "prompt")
        return found


class Columns:
    """Tokens and their chances in columns, piece after piece of one text.

    A token that holds a part of a character is told as its bytes, ``bytes:\\xe6\\x97``, and begins
    where the character does.
    """

    def __init__(self) -> None:
        self._begins = 0
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, tokens: Sequence[TokenScore | bytes]) -> dict[str, Any]:
        """The columns of the next piece's tokens.

        Args:
            tokens: bytes alone have no chance, as the first token of a prompt.
        """
        spelt = [one if isinstance(one, bytes) else one.spelt for one in tokens]
        scores = [None if isinstance(one, bytes) else one for one in tokens]
        return {
            "tokens": [_told(one) for one in spelt],
            "token_logprobs": [None if one is None else one.logprob for one in scores],
            "top_logprobs": [
                None if one is None else {_told(text): chance for _, text, chance in one.top}
                for one in scores
            ],
            "text_offset": [self._begin(one) for one in spelt],
        }

    def _begin(self, spelt: bytes) -> int:
        """Where a token begins in the text, which grows with every character that is whole."""
        begins = self._begins
        self._begins += len(self._characters.decode(spelt))
        return begins


def _told(spelt: bytes) -> str:
    try:
        return spelt.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{one:02x}" for one in spelt)
