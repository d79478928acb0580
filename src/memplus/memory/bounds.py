"""What the rows of a saved memory may be, given its other fields and its model.

Shapes: L layers, N slots, n rows in use, K rows of a write, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.memory.checks import (
    COUNT,
    require,
    require_positions,
    require_tensor,
    require_within,
)
from memplus.memory.layout import BOOKS, LongTermLayout
from memplus.memory.packing import (
    KEY,
    MORE,
    PACKED,
    RowKind,
    Share,
    centre_of,
    common_shapes,
    leading_of,
    packed_columns,
)
from memplus.memory.records import MemoryOwner, NewRows
from memplus.memory.short_term import OWN
from memplus.memory.span_checks import require_alike, require_one_write_each, require_whole

__all__ = ["Bounds", "example_rows", "shared_by"]

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_Wanted = tuple[torch.dtype, tuple[int | None, ...]]


def shared_by(names: Iterable[str]) -> bool:
    """Whether columns of these names, of all layers, are of rows that some layers keep more of.

    Earlier releases kept the rows of all layers alike.
    """
    return any(name.endswith(MORE) for name in names)


def example_rows(owner: MemoryOwner, new_rows: Callable[[Tensor], NewRows]) -> NewRows:
    """What a model keeps of one row of zeros: the names, widths and dtypes of every column."""
    layers, width, dtype = owner.row_shape
    return new_rows(torch.zeros((layers, 1, width), dtype=dtype, device=owner.device))


@dataclass(frozen=True)
class Bounds:
    """Checks the tensors of one saved memory; each check names what is out of bounds.

    Raises:
        CorruptMemoryError: from every method.
    """

    path: Path
    config: MemoryConfig
    writes: int
    """How many writes there were."""
    clock: int
    rows: RowKind
    like: NewRows | None = None
    """``example_rows`` of the model; None where it is not at hand."""
    shared: bool = True
    """Whether rows in 2 bits keep more in some layers than in others; see ``shared_by``."""

    def pool(self, tensors: Mapping[str, Tensor], stem: str, count: int) -> None:
        """The tensors of a short-term pool.

        Args:
            tensors: by name, each behind ``stem``; of the slots in use, or of all.
            stem: of the names.
            count: rows in use.
        """
        slots = self.config.short_term_tokens
        require(count <= slots, self.path, "count", f"is {count}, with {slots} slots")
        layers = None if self.like is None else self.like.hidden.shape[0]
        position = self._require(tensors, f"{stem}position", torch.int64, (layers, None))
        if position.shape[1] == count:  # earlier releases kept the slots that are not in use too
            slots = count
        whole = (position.shape[0], slots)
        self._require(tensors, f"{stem}position", torch.int64, whole)
        require_positions(position, self.path, f"{stem}position")
        self._bookkeeping(tensors, stem, whole)
        unused = tensors[f"{stem}write_id"][position >= count]
        require_within(unused, self.path, f"{stem}write_id", 0, 0)
        if self.config.retrieves_spans:
            self._pool_spans(tensors, stem, count)
        self._recent(tensors, f"{stem}recent", position.shape[0])
        names = [name for name in tensors if name.removeprefix(stem) not in OWN]
        require(bool(names), self.path, f"{stem}k", "is missing")
        if self.like is not None:
            self._only(names, {f"{stem}{name}" for name in self.like.columns})
            for name, column in self.like.columns.items():
                shape = (column.shape[0], slots, *column.shape[2:])
                self._require(tensors, f"{stem}{name}", column.dtype, shape)
        for name in names:
            found = tensors[name]
            keyed = name == f"{stem}{KEY}"  # also where a fork left its long-term memory behind
            own = (len(self.config.retrieving_layers(whole[0])) if keyed else whole[0], slots)
            ok = found.dtype in _FLOATS and tuple(found.shape[:2]) == own
            require(ok, self.path, name, f"is {found.dtype} {list(found.shape)}")

    def _pool_spans(self, tensors: Mapping[str, Tensor], stem: str, count: int) -> None:
        """Rows in use by age, in whole spans of one write each, the same in every layer."""
        span = self.config.span_rows
        require_whole(count, span, self.path, "count")
        for name in ("position", "birth", "write_id"):
            require_alike(list(tensors[f"{stem}{name}"]), self.path, f"{stem}{name}")
        order = tensors[f"{stem}position"][0].argsort()[:count]
        field = f"{stem}write_id"
        require_one_write_each(tensors[field][0, order], span, self.path, field)

    def _recent(self, tensors: Mapping[str, Tensor], name: str, layers: int) -> None:
        hidden = None if self.like is None else self.like.hidden
        width = None if hidden is None else hidden.shape[2]
        dtypes = _FLOATS if hidden is None else (hidden.dtype,)
        found = require_tensor(tensors, name, self.path, dtypes, (layers, None, width))
        most = self.config.tokens_per_write  # also of rows that short writes dropped from the pool
        require(found.shape[1] <= most, self.path, name, f"has more than {most} rows")

    def table(self, tensors: Mapping[str, Tensor], stem: str, layer: int | None = None) -> None:
        """The columns of one layer's long-term rows.

        Args:
            tensors: by name, each behind ``stem``.
            stem: of the names.
            layer: which one; None: columns that some layer has.
        """
        birth = tensors.get(f"{stem}birth")
        rows = len(birth) if birth is not None and birth.dim() else 0
        if birth is not None or layer is None or self.like is None:
            self._bookkeeping(tensors, stem, (rows,))
        elif tensors:
            rows = max(len(one) if one.dim() else 0 for one in tensors.values())
        if self.like is not None:
            wanted = self.long_term_columns(self.like, layer)
            if self.config.retrieves_spans and wanted:  # earlier releases kept them in every layer
                there = {f"{stem}{name}" for name in BOOKS} & set(tensors)
                wanted |= {n: self._books()[n] for n in (one.removeprefix(stem) for one in there)}
            if KEY in wanted and self._keys_are_packed(tensors.get(f"{stem}{KEY}")):
                wanted[KEY] = torch.int8, wanted[KEY][1]
            self._only(tensors, {f"{stem}{name}" for name in wanted})
            for name, (dtype, shape) in wanted.items():
                self._require(tensors, f"{stem}{name}", dtype, (rows, *shape))
        for name, column in tensors.items():
            ok = column.dim() > 0 and len(column) == rows
            require(ok, self.path, name, f"has not {rows} rows but the shape {list(column.shape)}")
        field = f"{stem}write_id"
        if self.config.retrieves_spans and field in tensors:
            span = self.config.span_rows
            require_whole(rows, span, self.path, f"{stem}birth")
            require_one_write_each(tensors[field], span, self.path, field)

    def tables_alike(self, layers: Sequence[Mapping[str, Tensor]]) -> None:
        """Long-term rows by layer, name -> [n, ...]: the same spans where spans are retrieved."""
        if not self.config.retrieves_spans:
            return
        for name in ("birth", "write_id"):
            there = [one[name] for one in layers if name in one]
            require_alike(there, self.path, f"long-term {name}")
        counts = {len(next(iter(one.values()))) for one in layers if one}
        require(len(counts) <= 1, self.path, "long-term rows", "are not as many in every layer")

    def long_term_columns(self, like: NewRows, layer: int | None = None) -> dict[str, _Wanted]:
        """Name -> dtype and shape of one row, of the long-term columns of a layer.

        Args:
            like: what the model keeps of a row.
            layer: which one; None: all that some layer has.
        """
        layout = LongTermLayout.of(self.config, like.hidden.shape[0])
        wanted = self._books()
        for name in like.long_term:
            column = like.columns[name]
            if self.rows != "exact" and name in PACKED:
                for share in {self._share(layout, at) for at in layout.stored}:
                    wanted |= packed_columns(name, column[0, 0], self.rows, share)
            else:
                wanted[name] = column.dtype, tuple(column.shape[2:])
        return {n: one for n, one in wanted.items() if layer is None or layout.has(n, layer)}

    def _share(self, layout: LongTermLayout, layer: int) -> Share:
        return layout.share(layer) if self.shared else Share.SAME

    def _books(self) -> dict[str, _Wanted]:
        wanted: dict[str, _Wanted] = {"birth": (torch.int64, ()), "write_id": (torch.int32, ())}
        if self.config.eviction.kind == "counter":
            wanted["counter"] = torch.float32, ()
        return wanted

    def _keys_are_packed(self, key: Tensor | None) -> bool:
        """Packed rows of spans have keys in 8 bits, or, from earlier releases, exact ones."""
        spans = self.rows != "exact" and self.config.retrieves_spans
        return spans and key is not None and key.dtype == torch.int8

    def centres(self, tensors: Mapping[str, Tensor], stem: str, layer: int, rows: int) -> set[str]:
        """What a layer's rows have in common, among the tensors; returns the names.

        Args:
            tensors: by name, each behind ``stem``; others are looked over.
            stem: of the names.
            layer: which one.
            rows: how many it has.
        """
        found: set[str] = set()
        for name in PACKED if self.rows != "exact" else ():
            centre, leading = (f"{stem}{centre_of(one)}" for one in (name, leading_of(name)))
            shapes = {one: tuple(tensors[one].shape) for one in (centre, leading) if one in tensors}
            known = shapes if self.like is None else self._in_common(name, stem, layer)
            for full in shapes:
                require(full in known, self.path, full, "is of no column of this model's rows")
                self._require(tensors, full, torch.float32, known[full])
            # Rows without a centre are of an earlier release, which kept none in 2 bits.
            if self.rows == "int2" and self.like is not None and rows and self._keeps(name, layer):
                for full in known:
                    require(full in shapes, self.path, full, "is missing")
            found |= set(shapes)
        return found

    def _in_common(self, column: str, stem: str, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of what a column's rows have in common, by their names behind ``stem``."""
        assert self.like is not None
        if column not in self.like.long_term:
            return {}
        share = self._share(LongTermLayout.of(self.config, self.like.hidden.shape[0]), layer)
        shapes = common_shapes(column, self.like.columns[column].shape[2:], self.rows, share)
        return {f"{stem}{name}": shape for name, shape in shapes.items()}

    def _keeps(self, name: str, layer: int) -> bool:
        """Whether a layer has a column of the long-term rows."""
        assert self.like is not None
        return LongTermLayout.of(self.config, self.like.hidden.shape[0]).has(name, layer)

    def _bookkeeping(
        self, tensors: Mapping[str, Tensor], stem: str, shape: tuple[int | None, ...]
    ) -> None:
        birth = self._require(tensors, f"{stem}birth", torch.int64, shape)
        require_within(birth, self.path, f"{stem}birth", -COUNT, self.clock)
        write_id = self._require(tensors, f"{stem}write_id", torch.int32, shape)
        require_within(write_id, self.path, f"{stem}write_id", 0, self.writes)

    def _require(
        self,
        tensors: Mapping[str, Tensor],
        name: str,
        dtype: torch.dtype,
        shape: tuple[int | None, ...],
    ) -> Tensor:
        return require_tensor(tensors, name, self.path, (dtype,), shape)

    def _only(self, names: Mapping[str, Tensor] | list[str], known: set[str]) -> None:
        for name in names:
            require(name in known, self.path, name, "is not a column of this model's rows")
