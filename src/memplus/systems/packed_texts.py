"""Many texts as two tensors of a saved session, and back.

Shapes: n texts, b bytes of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from memplus.memory.checks import require, require_tensor, wrong

__all__ = ["pack_texts", "packed_bytes", "unpack_texts"]

_TEXT, _LENGTHS = "text", "lengths"
_UTF8 = "utf-8", "surrogatepass"
"""Names of files may hold halves of characters."""


def pack_texts(texts: Sequence[str]) -> dict[str, Tensor]:
    """``text`` [b] uint8, all in UTF-8 one after the other; ``lengths`` [n] int32, characters."""
    content = bytearray("".join(texts).encode(*_UTF8))
    flat = torch.frombuffer(content, dtype=torch.uint8) if content else _none(torch.uint8)
    return {_TEXT: flat, _LENGTHS: torch.tensor([len(one) for one in texts], dtype=torch.int32)}


def packed_bytes(texts: Sequence[str]) -> int:
    """Bytes that ``pack_texts`` makes of them."""
    return len("".join(texts).encode(*_UTF8)) + 4 * len(texts)


def unpack_texts(tensors: Mapping[str, Tensor], path: Path) -> list[str]:
    """The texts that ``pack_texts`` was given.

    Args:
        tensors: of a file, by name.
        path: of it, for errors.

    Raises:
        CorruptMemoryError: they hold no such texts.
    """
    flat = require_tensor(tensors, _TEXT, path, (torch.uint8,), (None,))
    lengths = require_tensor(tensors, _LENGTHS, path, (torch.int32,), (None,)).tolist()
    try:
        text = flat.numpy().tobytes().decode(*_UTF8)
    except UnicodeDecodeError as error:
        raise wrong(path, _TEXT, f"is no UTF-8 ({error.reason})") from error
    fits = all(length >= 0 for length in lengths) and sum(lengths) == len(text)
    require(fits, path, _LENGTHS, f"do not add up to the {len(text)} characters of the text")
    texts, at = [], 0
    for length in lengths:
        texts.append(text[at : at + length])
        at += length
    return texts


def _none(dtype: torch.dtype) -> Tensor:
    return torch.zeros(0, dtype=dtype)
