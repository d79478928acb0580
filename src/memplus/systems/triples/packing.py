"""A table of triples as tensors, and back: what lies in a saved file, whatever SQLite does inside.

Shapes: n texts, d width of a vector.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from memplus.memory.checks import COUNT, require, require_tensor, require_within

__all__ = ["as_bytes", "as_text", "check", "numbers", "packed", "unpack"]


def packed(connection: sqlite3.Connection) -> dict[str, Tensor]:
    """All that a database of triples holds.

    Args:
        connection: with the tables of ``table.py``.

    Returns:
        For ``entities``, ``relations`` and ``sources``: ``NAME.text``, bytes of all texts one
        after the other, and ``NAME.end`` [n] int64, where each ends; of the first two
        ``NAME.vector`` [n, d] float32; ``triples`` [n, 3] int64, places in those lists;
        ``origins`` [n, 5] int64: places of triple and source, write, first token, token after.
    """
    made: dict[str, Tensor] = {}
    place: dict[str, dict[int, int]] = {}
    for name, text in (("entities", "text"), ("relations", "text"), ("sources", "name")):
        found = connection.execute(f"SELECT id, {text} FROM {name} ORDER BY id").fetchall()
        place[name] = {row[0]: index for index, row in enumerate(found)}
        texts = [row[1] if isinstance(row[1], bytes) else as_bytes(row[1]) for row in found]
        made |= _texts(name, texts)
        if name != "sources":
            blobs = connection.execute(f"SELECT vector FROM {name} ORDER BY id").fetchall()
            flat = numbers(b"".join(blob for (blob,) in blobs), torch.float32)
            made[f"{name}.vector"] = flat.view(len(blobs), -1 if blobs else 0)
    triples = connection.execute(
        "SELECT id, subject, relation, object FROM triples ORDER BY id"
    ).fetchall()
    entities, relations, sources = place["entities"], place["relations"], place["sources"]
    made["triples"] = _whole(
        [(entities[s], relations[r], entities[o]) for _, s, r, o in triples], 3
    )
    at = {row[0]: index for index, row in enumerate(triples)}
    origins = connection.execute("SELECT * FROM origins ORDER BY triple, number").fetchall()
    made["origins"] = _whole([(at[t], sources[s], *rest) for t, s, *rest in origins], 5)
    return made


def unpack(connection: sqlite3.Connection, tensors: Mapping[str, Tensor]) -> None:
    """Fill a database that holds nothing yet.

    Args:
        connection: with the tables of ``table.py``.
        tensors: as ``packed`` gave them.

    Raises:
        sqlite3.IntegrityError: a text or a triple is there twice, or a place leads nowhere.
        UnicodeDecodeError: a text is no UTF-8.
    """
    with connection:
        for name in ("entities", "relations"):
            vectors = tensors[f"{name}.vector"].contiguous()
            rows = [
                (index, as_text(text), vectors[index].numpy().tobytes())
                for index, text in enumerate(_split(name, tensors))
            ]
            connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", rows)
        sources = list(enumerate(_split("sources", tensors)))
        connection.executemany("INSERT INTO sources VALUES (?, ?)", sources)
        triples = [(at, *row) for at, row in enumerate(tensors["triples"].tolist())]
        connection.executemany("INSERT INTO triples VALUES (?, ?, ?, ?)", triples)
        origins = tensors["origins"].tolist()
        connection.executemany("INSERT INTO origins VALUES (?, ?, ?, ?, ?)", origins)


def check(tensors: Mapping[str, Tensor], writes: int, path: Path) -> None:
    """Refuse tensors that ``packed`` cannot have given, as far as each shows it by itself.

    Args:
        tensors: of a file.
        writes: how many writes there were.
        path: the file, for errors.

    Raises:
        CorruptMemoryError: naming the tensor.
    """
    whole = [torch.int64]
    for name in ("entities", "relations", "sources"):
        text = require_tensor(tensors, f"{name}.text", path, [torch.uint8], (None,))
        end = require_tensor(tensors, f"{name}.end", path, whole, (None,))
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), end])
        fits = bool((bounds.diff() >= 0).all()) and int(bounds[-1]) == len(text)
        require(fits, path, f"{name}.end", f"does not divide {len(text)} bytes")
        if name != "sources":
            floats = [torch.float32]
            require_tensor(tensors, f"{name}.vector", path, floats, (len(end), None))
    triples = require_tensor(tensors, "triples", path, whole, (None, 3))
    origins = require_tensor(tensors, "origins", path, whole, (None, 5))
    require_within(origins[:, 2], path, "origins", 1, writes)
    require_within(origins[:, 3:], path, "origins", 0, COUNT)
    said = torch.equal(origins[:, 0].unique(), torch.arange(len(triples)))
    require(said, path, "origins", "do not say where every triple comes from")


def as_bytes(name: str) -> bytes:
    """A text as it is kept; names of files may hold halves of characters."""
    return name.encode("utf-8", "surrogatepass")


def as_text(name: bytes) -> str:
    """The text that ``as_bytes`` was given.

    Raises:
        UnicodeDecodeError: it is no UTF-8.
    """
    return name.decode("utf-8", "surrogatepass")


def numbers(content: bytes, dtype: torch.dtype) -> Tensor:
    """Bytes as numbers, one after the other."""
    empty = torch.zeros(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else empty


def _texts(name: str, texts: Sequence[bytes]) -> dict[str, Tensor]:
    ends, at = [], 0
    for text in texts:
        at += len(text)
        ends.append(at)
    flat = numbers(b"".join(texts), torch.uint8)
    return {f"{name}.text": flat, f"{name}.end": torch.tensor(ends, dtype=torch.int64)}


def _split(name: str, tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    flat, start = tensors[f"{name}.text"].numpy().tobytes(), 0
    for end in tensors[f"{name}.end"].tolist():
        yield flat[start:end]
        start = end


def _whole(rows: Sequence[tuple[int, ...]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).view(len(rows), width)
