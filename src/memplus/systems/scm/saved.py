"""A stream as numbers and bytes for a session's file, and back.

Shapes: n turns, d numbers of a vector.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from memplus.memory.checks import (
    Count,
    Fields,
    Text,
    require,
    require_tensor,
    require_within,
    wrong,
)
from memplus.systems.scm.stream import Chunk, Stream, Turn, Waiting

__all__ = ["StreamState", "packed", "unpacked"]

_COLUMNS = 7
"""Of a turn: its source's number, first token, tokens told, tokens of its text, and bytes of
observation, response and summary (-1: none is kept)."""
_MOST = 1 << 40


class StreamState(Fields):
    """A stream without its turns."""

    sources: list[Text]
    told: list[Count]
    """Tokens of each source."""
    waiting: Text
    waiting_source: Text
    waiting_start: Count


def packed(stream: Stream) -> tuple[StreamState, dict[str, Tensor]]:
    """The state, and tensors: ``turns`` [n, 7], ``texts`` in UTF-8, ``vectors`` [n, d], and
    ``ends`` of the tokens that wait."""
    sources = list(stream.tokens)
    numbers, content = [], bytearray()
    for turn in stream.turns:
        chunk, summary = turn.chunk, turn.summary
        texts = [chunk.observation.encode(), chunk.response.encode(), (summary or "").encode()]
        lengths = [len(text) for text in texts[:2]] + [-1 if summary is None else len(texts[2])]
        place = sources.index(chunk.source)
        numbers.append([place, chunk.start, chunk.length, turn.tokens, *lengths])
        content += b"".join(texts)
    waiting = stream.waiting
    state = StreamState(
        sources=sources,
        told=[stream.tokens[source] for source in sources],
        waiting=waiting.text,
        waiting_source=waiting.source,
        waiting_start=waiting.start,
    )
    tensors = {
        "turns": torch.tensor(numbers, dtype=torch.int64).reshape(-1, _COLUMNS),
        "texts": torch.frombuffer(content, dtype=torch.uint8) if content else _NOTHING,
        "ends": torch.tensor(waiting.ends, dtype=torch.int32),
    }
    vectors = [turn.vector for turn in stream.turns if turn.vector is not None]
    if vectors:
        tensors["vectors"] = torch.stack(vectors)
    return state, tensors


_NOTHING = torch.empty(0, dtype=torch.uint8)


def unpacked(path: Path, state: StreamState, tensors: dict[str, Tensor], width: int) -> Stream:
    """What ``packed`` was given.

    Args:
        path: of the file, for errors.
        state: of the file.
        tensors: of the file.
        width: d; 0: turns have no vectors.

    Raises:
        CorruptMemoryError: they are not those of a stream.
    """
    same = len(state.sources) == len(state.told) == len(set(state.sources))
    require(same, path, "state.sources", "do not fit their tokens")
    numbers = require_tensor(tensors, "turns", path, [torch.int64], (None, _COLUMNS))
    texts = require_tensor(tensors, "texts", path, [torch.uint8], (None,))
    content = BytesIO(bytes(texts.tolist()))
    require_within(numbers, path, "turns", -1, _MOST)
    vectors: list[Tensor | None] = [None] * len(numbers)
    if width and len(numbers):
        shape = len(numbers), width
        vectors = list(require_tensor(tensors, "vectors", path, [torch.float32], shape))
    turns: list[Turn] = []
    for row, vector in zip(numbers.tolist(), vectors, strict=True):
        turns.append(_turn(path, row, content, state.sources, len(turns) + 1, vector))
    require(not content.read(), path, "texts", "are longer than the turns say")
    ends = tuple(require_tensor(tensors, "ends", path, [torch.int32], (None,)).tolist())
    # Tokens may end at 0: of a character whose first token an older file gave to the turn before.
    inside = list(ends) == sorted(ends) and all(0 <= one <= len(state.waiting) for one in ends)
    require(inside, path, "ends", "do not lie in the text that waits")
    waiting = Waiting(state.waiting_source, state.waiting_start, state.waiting, ends)
    return Stream(tuple(turns), waiting, dict(zip(state.sources, state.told, strict=True)))


def _turn(
    path: Path,
    row: list[int],
    content: BinaryIO,
    sources: list[str],
    number: int,
    vector: Tensor | None,
) -> Turn:
    """The next turn, its texts read on from the content."""
    place, start, length, tokens, *lengths = row
    texts = [content.read(max(0, one)) for one in lengths]
    fits = 0 <= place < len(sources) and min(row[:-1]) >= 0
    fits = fits and [len(text) for text in texts] == [max(0, one) for one in lengths]
    require(fits, path, f"turns.{number - 1}", "points outside the file")
    try:
        observation, response, summary = (text.decode() for text in texts)
    except UnicodeDecodeError as error:
        raise wrong(path, f"texts.{number - 1}", f"are no UTF-8 ({error.reason})") from error
    chunk = Chunk(observation, sources[place], start, length, response)
    kept = None if lengths[2] < 0 else summary
    return Turn(chunk, chunk.text(number), tokens, kept, vector)
