"""Text handed on while it is generated, and nothing that may yet be cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

__all__ = ["Pieces", "Stream", "until_stop"]

Stream = Callable[[str], None]
"""Called with each further piece of an answer's text, as soon as it is sure to be part of it."""


def until_stop(text: str, stops: Sequence[str]) -> str:
    """What was generated, up to the first of the texts at which an answer ends."""
    return _before_stop(text, stops).strip()


def _before_stop(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.partition(stop)[0]
    return text


class Pieces:
    """A streamer of the stock ``generate`` that hands on the text of one answer.

    Args:
        decode: token ids -> text.
        stops: texts before which the answer is cut.
        stream: is handed the pieces.
        wanted: whether anything is handed on; asked when the first token is there.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        stops: Sequence[str],
        stream: Stream,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._decode = decode
        self._stops = stops
        self._stream = stream
        self._wanted = wanted
        self._ids: list[int] = []
        self._given = ""
        self._begun = False

    def put(self, value: Tensor) -> None:
        """Take in the prompt, then a token at a time."""
        if not self._begun:
            self._begun = True
            return
        self._ids += [int(token) for token in value.flatten()]
        self._hand_on(ended=False)

    def end(self) -> None:
        """Hand on what is left."""
        self._hand_on(ended=True)

    def _hand_on(self, *, ended: bool) -> None:
        if not self._wanted():
            return
        text = self._decode(self._ids) if self._ids else ""
        sure = _before_stop(text, self._stops)
        if not ended:
            sure = self._without_half(text, sure)
        sure = sure.strip()  # only now: a blank may begin a stop, or stand before one
        if sure.startswith(self._given) and len(sure) > len(self._given):
            self._stream(sure[len(self._given) :])
            self._given = sure

    def _without_half(self, text: str, sure: str) -> str:
        """What can no longer change: no half character, no half stop at the end."""
        if text.endswith("\ufffd"):
            return self._given
        for stop in self._stops:
            for length in range(len(stop) - 1, 0, -1):
                if sure.endswith(stop[:length]):
                    sure = sure[: len(sure) - length]
        return sure
