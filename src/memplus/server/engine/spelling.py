"""The bytes that single tokens stand for: a character may take several tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

__all__ = ["Spelling"]

_ONE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BLANK = "\u2581"
"""How tokenizers that tell no bytes write a blank."""


def _letters() -> dict[str, int]:
    """The letters by which byte-level tokenizers write bytes: their own where these can be seen."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [one for one in range(256) if one not in seen]
    return {chr(one): one for one in seen} | {chr(256 + at): one for at, one in enumerate(hidden)}


_LETTERS = _letters()


class Spelling:
    """Spells tokens one by one.

    Decoded alone, a token that holds a part of a character would be the mark for broken text, and
    one that begins with a blank may lose it.

    Args:
        tokenizer: of the model.
        decode: token ids -> text, for tokens that stand for a text of their own, as added ones do,
            and for tokenizers that do not say how they decode.
    """

    def __init__(self, tokenizer: Any, decode: Callable[[list[int]], str]) -> None:
        self._tokenizer = tokenizer
        self._decode = decode

    def __call__(self, token: int, *, first: bool = False) -> bytes:
        """The bytes of a token.

        Args:
            token: its id.
            first: nothing precedes it, so that a blank before it is left out where the tokenizer
                leaves it out of a text.
        """
        piece = None if token in self._added else self._tokenizer.convert_ids_to_tokens(token)
        if isinstance(piece, str):
            if "ByteLevel" in self._kinds and all(letter in _LETTERS for letter in piece):
                return bytes(_LETTERS[letter] for letter in piece)
            byte = _ONE_BYTE.fullmatch(piece) if "ByteFallback" in self._kinds else None
            if byte is not None:
                return bytes.fromhex(byte[1])
            if {"Replace", "Metaspace"} & self._kinds and not first:
                return piece.replace(_BLANK, " ").encode()
        return self._decode([token]).encode("utf-8", "replace")

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._tokenizer.added_tokens_decoder)

    @cached_property
    def _kinds(self) -> frozenset[str]:
        """The steps by which the tokenizer makes a text of its tokens."""
        decoder = getattr(getattr(self._tokenizer, "backend_tokenizer", None), "decoder", None)
        return frozenset() if decoder is None else frozenset(_steps(json.loads(_state(decoder))))


def _state(decoder: Any) -> bytes:
    state = decoder.__getstate__()
    return state if isinstance(state, bytes) else b"{}"


def _steps(state: dict[str, Any]) -> Iterator[str]:
    yield str(state.get("type"))
    for one in state.get("decoders", ()):
        yield from _steps(one)
