"""The text of an answer as its tokens come: nothing is given that may yet be cut off."""

from __future__ import annotations

from collections.abc import Callable

from memplus.server.engine.requests import Piece, Sampling, TokenScore

__all__ = ["AnswerText"]

_HALF = "\ufffd"
"""What a tokenizer gives for half a character."""
_KEPT = 8
"""Tokens decoded again with those that follow them: they may change how these are spelt."""
_TOGETHER = 32
"""Most tokens decoded at a time, so that a long answer costs no more per token than a short one."""


class AnswerText:
    """Turns tokens into pieces of text.

    Args:
        sampling: where the answer ends, and whether blanks around it are left out.
        decode: token ids -> text.
    """

    def __init__(self, sampling: Sampling, decode: Callable[[list[int]], str]) -> None:
        self._stops = sampling.stop
        self._strip = sampling.strip
        self._decode = decode
        self._settled = ""
        """Text of all tokens before ``_ids[_known:]``."""
        self._ids: list[int] = []
        self._known = 0
        self._given = ""
        self._scores: list[tuple[int, TokenScore]] = []
        """(where the token begins in the raw text, its score), those not yet given."""
        self.text = ""
        """Of all tokens so far."""
        self.stopped = False
        """Whether a stop was met."""

    def add(self, token: int, score: TokenScore | None = None) -> None:
        """Take in the next token."""
        if score is not None:
            self._scores.append((len(self.text.rstrip(_HALF)), score))
        self._ids.append(token)
        self.text = self._settled + self._decode(self._ids)[self._width() :]
        if len(self._ids) > _TOGETHER and not self.text.endswith(_HALF):
            self._settled, self._ids, self._known = self.text, self._ids[-_KEPT:], _KEPT
        self.stopped = self.stopped or any(stop in self.text for stop in self._stops)

    def _width(self) -> int:
        return len(self._decode(self._ids[: self._known])) if self._known else 0

    def final(self) -> str:
        """The answer, if no more tokens come."""
        cut = self._cut()
        return cut.strip() if self._strip else cut

    def _cut(self) -> str:
        text = self.text
        for stop in self._stops:
            text = text.partition(stop)[0]
        return text

    def piece(self, *, ended: bool) -> Piece | None:
        """What is sure to be part of the answer and was not yet given; None for nothing.

        Args:
            ended: whether no more tokens come.
        """
        sure = self._cut()
        if not ended and not self.stopped:
            sure = self._without_half(sure)
        begins = len(sure) - len(sure.lstrip()) if self._strip else 0
        end = len(sure.rstrip()) if self._strip and len(sure) > begins else len(sure)
        sure = sure[begins:end]
        new = sure[len(self._given) :] if sure.startswith(self._given) else ""
        scores = self._scores_before(end, ended=ended)
        if not new and not scores:
            return None
        self._given += new
        return Piece(new, scores)

    def _without_half(self, sure: str) -> str:
        """What can no longer change: no half character, no beginning of a stop at the end."""
        if self.text.endswith(_HALF):
            return self.text[: len(self._given)] if not self._strip else self._given
        for stop in self._stops:
            for length in range(len(stop) - 1, 0, -1):
                if sure.endswith(stop[:length]):
                    sure = sure[: len(sure) - length]
                    break
        return sure

    def _scores_before(self, end: int, *, ended: bool) -> tuple[TokenScore, ...]:
        """Scores of the tokens that begin in the text that is given now.

        At the end all are given but those of the text that a stop cut off.
        """
        whole = ended and not self.stopped
        ready = [score for begin, score in self._scores if whole or begin < end]
        self._scores = self._scores[len(ready) :]
        return tuple(ready)
