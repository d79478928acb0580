"""What a file's rows must be where spans are retrieved: whole spans, the same in every layer.

Shapes: L layers, n rows, s rows of a span.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from memplus.memory.checks import require
from memplus.memory.short_term import whole_spans

__all__ = ["require_alike", "require_one_write_each", "require_whole", "require_whole_spans"]


def require_whole(rows: int, span: int, path: Path, field: str) -> None:
    """Refuse a number of rows that is no number of spans.

    Raises:
        CorruptMemoryError: naming the field.
    """
    require(rows % span == 0, path, field, f"has {rows} rows, not whole spans of {span}")


def require_alike(layers: Sequence[Tensor], path: Path, field: str) -> None:
    """Refuse layers whose rows are not the same ones; each gives one column of its rows [n].

    Raises:
        CorruptMemoryError: naming the field.
    """
    ok = all(torch.equal(one, layers[0]) for one in layers)
    require(ok, path, field, "differs between layers, which share their spans")


def require_one_write_each(write_id: Tensor, span: int, path: Path, field: str) -> None:
    """Refuse spans whose rows are of several writes.

    Args:
        write_id: [n] of rows in their order; n is whole spans.
        span: s.
        path: the file, for the error.
        field: names what the ids are of.

    Raises:
        CorruptMemoryError: naming the field.
    """
    spans = write_id.view(-1, span)
    require(torch.equal(spans, spans[:, :1].expand_as(spans)), path, field, "divides a span")


def require_whole_spans(places: Tensor, span: int, path: Path, field: str) -> None:
    """Refuse places [L, c] that are not whole spans, the same in every layer.

    Raises:
        CorruptMemoryError: naming the field.
    """
    ok = whole_spans(places, span)
    require(ok, path, field, f"does not name whole spans of {span} rows, the same in every layer")
