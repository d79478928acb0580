"""One memory as one file: its tensors, and everything else as JSON beside them.

The JSON holds the format version, the model's fingerprint, the config, sources, tail and counters.
``tensor_file`` finds any flipped byte; what the fields say is checked here before it is used.

Shapes: L layers, N short-term rows, n stored rows of a layer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.errors import (
    ConfigError,
    MemoryChangedError,
    MemoryMismatchError,
    MemoryVersionError,
    NotAMemoryError,
)
from memplus.errors.base import storage_error
from memplus.files import as_path, aside
from memplus.memory.bounds import Bounds, example_rows, shared_by
from memplus.memory.checks import (
    Count,
    Fields,
    Items,
    Record,
    Seed,
    Text,
    Token,
    checked,
    parsed,
    require,
    require_finite,
    require_generator,
    require_within_vocabulary,
    require_writes,
    wrong,
)
from memplus.memory.contents import MemoryContents
from memplus.memory.layout import LongTermLayout
from memplus.memory.mismatch import mismatch, written_dtype
from memplus.memory.packing import RowKind, named_centres, split_centres
from memplus.memory.records import MemoryOwner, NewRows, SavedFile, WriteRecord
from memplus.memory.rows import RowTable
from memplus.memory.short_term import ShortTermPool
from memplus.memory.tensor_file import opened, stored_digest, write_tensors

__all__ = ["VERSION", "load_contents", "save_contents"]

VERSION = 2

_T = TypeVar("_T")
Migration = Callable[[dict[str, Any], dict[str, Tensor]], None]


def _rows_have_kinds(values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Version 1 to 2: rows were exact or in 8 bits, and had no centres."""
    if isinstance(values.get("packed", False), bool):
        values["rows"] = "int8" if values.pop("packed", False) else "exact"
    values["version"] = 2


MIGRATIONS: dict[int, Migration] = {1: _rows_have_kinds}
"""Format version -> what turns it into the next one, in place."""
_POOL = "pool."
_HEADER = "header"


class _Header(Fields):
    """What a memory is, its tensors apart."""

    version: Count
    fingerprint: Text
    config: dict[str, Any]
    seed: Seed
    max_bytes: Annotated[int, Field(ge=0)] | None
    clock: Count
    count: Count
    writes: Items[Record]
    tail: Items[Token]
    tail_source: Text
    source_tokens: dict[Text, Count]
    memory_version: Count
    rows: RowKind
    waiting: Count | None = None
    writes_since_merge: Count | None = None


def save_contents(memory: MemoryContents, path: str | os.PathLike[str]) -> None:
    """Write a memory to ``path``; see ``Memory.save``."""
    path = as_path(path)
    with aside(path) as temporary:
        _refuse_changed(memory, path)
        digest = write_tensors(temporary, _tensors(memory), _header(memory))
        _refuse_changed(memory, path)
    memory.saved = SavedFile(path.absolute(), digest)


def _refuse_changed(memory: MemoryContents, path: Path) -> None:
    """Keep what somebody else has saved in place of the file that the memory came from.

    Raises:
        MemoryChangedError: it holds something else by now.
        StorageError: it cannot be read.
    """
    saved = memory.saved
    if saved is None or saved.path != path.absolute() or not path.exists():
        return
    try:
        found = stored_digest(path)
    except OSError as error:
        raise storage_error(path, error) from error
    if found != saved.digest:
        raise MemoryChangedError(path)


@torch.inference_mode(mode=False)
def load_contents(
    memory: MemoryContents,
    path: str | os.PathLike[str],
    new_rows: Callable[[Tensor], NewRows],
) -> None:
    """Make a memory what a file holds; see ``Memory.load``.

    Args:
        memory: is overwritten.
        path: of the file.
        new_rows: what the model keeps of hidden vectors [L, k, d]: rows must look like these.
    """
    path = as_path(path)
    with opened(path) as file:
        values = _versioned(parsed(file.text, path, _HEADER), path)
        _require_model(values, memory.owner, path, file.dtypes)
        tensors = file.tensors()
    require_finite(tensors, path)
    for version in range(values["version"], VERSION):
        MIGRATIONS[version](values, tensors)
    header = checked(_Header, values, path, _HEADER)
    memory.config = _own_config(header.config, memory.owner, path)
    _check(header, tensors, memory, path, example_rows(memory.owner, new_rows))
    _fill(memory, header, tensors)
    memory.saved = SavedFile(path.absolute(), file.digest)


def _versioned(values: Any, path: Path) -> dict[str, Any]:
    """The header, known to be an object of a version that this release reads."""
    require(isinstance(values, dict), path, _HEADER, "is not an object")
    if "session" in values:  # of a system that keeps no rows; the systems write the same files
        raise NotAMemoryError(path, reason=f"it is a saved session of {values['session']}")
    require("version" in values, path, f"{_HEADER}.version", "is missing")
    version = values["version"]
    if type(version) is not int or not 1 <= version <= VERSION:
        raise MemoryVersionError(path, found=version, supported=VERSION)
    found: dict[str, Any] = values
    return found


def _require_model(
    values: dict[str, Any], owner: MemoryOwner, path: Path, dtypes: dict[str, torch.dtype]
) -> None:
    """Refuse another model's memory before anything of it is read."""
    for name in ("fingerprint", "config"):
        require(name in values, path, f"{_HEADER}.{name}", "is missing")
    owner.check_weights()
    if values["fingerprint"] == owner.fingerprint:
        return
    theirs = _config(values["config"], path)
    differs = owner.memory_config.differs(theirs)
    if not differs and values["fingerprint"] == owner.fingerprint_of(theirs):
        return
    written = written_dtype(_without(_group(dtypes, _POOL), _POOL))
    weights = "the model's weights" + (" or dtype" if written is None else "")
    raise mismatch(differs or [weights], dtypes=(written, owner.row_shape[2]), sizes=bool(differs))


def _config(values: object, path: Path) -> MemoryConfig:
    require(isinstance(values, dict), path, f"{_HEADER}.config", "is not an object")
    try:
        return MemoryConfig.from_dict(values)
    except ConfigError as error:
        field = f"{_HEADER}.config.{error.fields['field']}"
        raise wrong(path, field, f"is wrong ({error.fields['reason']})") from error


def _own_config(values: object, owner: MemoryOwner, path: Path) -> MemoryConfig:
    """The config of the model, perhaps without its long-term memory (``short_term_only``).

    Raises:
        MemoryMismatchError: another config, although the file names this model.
    """
    ours = owner.memory_config
    found = _config(values, path)
    for config in (ours, replace(ours, retrieved_tokens=0)):
        if not config.differs(found):
            return config
    raise MemoryMismatchError(differs=", ".join(ours.differs(found)))


def _check(
    header: _Header,
    tensors: dict[str, Tensor],
    memory: MemoryContents,
    path: Path,
    like: NewRows,
) -> None:
    """Whatever the file says fits together, and fits the model.

    Raises:
        CorruptMemoryError: naming what does not.
    """
    require_writes([one[0] for one in header.writes], path, f"{_HEADER}.writes")
    field = f"{_HEADER}.tail"
    most = memory.config.chunk_tokens
    require(len(header.tail) <= most, path, field, f"has more than {most} tokens")
    require_within_vocabulary(header.tail, memory.owner.vocabulary, path, field)
    require_generator(tensors, path)
    counts = len(header.writes), header.clock
    bounds = Bounds(path, memory.config, *counts, header.rows, like, shared=shared_by(tensors))
    pool = _group(tensors, _POOL)
    if pool:
        bounds.pool(pool, _POOL, header.count)
    require(
        bool(pool) or not header.count, path, f"{_HEADER}.count", "counts rows, and none is there"
    )
    known = {"generator", *pool}
    counted = header.waiting is not None
    same = counted == (header.writes_since_merge is not None)
    require(same, path, f"{_HEADER}.writes_since_merge", "and `waiting` go together")
    if counted:
        tables = []
        for layer in range(like.hidden.shape[0]):
            stem = _stem(layer)
            group = _group(tensors, stem)
            rows = max((len(one) for one in group.values() if one.dim()), default=0)
            centres = bounds.centres(group, stem, layer, rows)
            columns = {name: column for name, column in group.items() if name not in centres}
            bounds.table(columns, stem, layer)
            known |= set(group)
            tables.append(_without(columns, stem))
        bounds.tables_alike(tables)
    for name in tensors:
        require(name in known, path, f"tensor {name}", "does not belong there")


def _header(memory: MemoryContents) -> str:
    header = {
        "version": VERSION,
        "fingerprint": memory.owner.fingerprint,
        "config": memory.config.identifying(),
        "seed": memory.seed,
        "max_bytes": memory.max_bytes,
        "clock": memory.clock,
        "count": memory.short_term_rows,
        "writes": [list(asdict(record).values()) for record in memory.writes],
        "tail": memory.tail,
        "tail_source": memory.tail_source,
        "source_tokens": memory.source_tokens,
        "memory_version": memory.version,
        "rows": memory.rows,
    }
    if memory.long_term is not None:
        header["waiting"] = memory.long_term.waiting
        header["writes_since_merge"] = memory.long_term.writes_since_merge
    return json.dumps(header)


def _tensors(memory: MemoryContents) -> dict[str, Tensor]:
    tensors = {"generator": memory.generator.get_state()}
    if memory.pool is not None:
        tensors |= {_POOL + name: t for name, t in memory.pool.tensors().items()}
    if memory.long_term is not None:
        for layer, table in enumerate(memory.long_term.tables):
            columns = {**table.columns(), **named_centres(table.centres)}
            tensors |= {_stem(layer) + name: c for name, c in columns.items()}
    # Forks and grown tables share storage, which the file must not; a pool has its own strides.
    plain = torch.contiguous_format
    return {name: t.detach().cpu().clone(memory_format=plain) for name, t in tensors.items()}


def _fill(memory: MemoryContents, header: _Header, tensors: dict[str, Tensor]) -> None:
    memory.seed, memory.max_bytes = header.seed, header.max_bytes
    memory.pool = memory.long_term = None
    memory.derived.clear()
    memory.clock = header.clock
    memory.writes = [WriteRecord(*values) for values in header.writes]
    memory.tail = list(header.tail)
    memory.tail_source = header.tail_source
    memory.source_tokens = dict(header.source_tokens)
    memory.version = header.memory_version
    memory.rows = header.rows
    # A copy: torch expects its state at an aligned address, which a view into a file may not have.
    memory.generator.set_state(tensors.pop("generator").clone())
    on_device = {name: tensor.to(memory.owner.device) for name, tensor in tensors.items()}
    pool = _without(_group(on_device, _POOL), _POOL)
    if pool:
        memory.pool = ShortTermPool.from_tensors(
            pool, header.count, memory.config.short_term_tokens
        )
    if header.waiting is not None and header.writes_since_merge is not None:
        stems = [_stem(layer) for layer in range(memory.owner.row_shape[0])]
        layout = LongTermLayout.of(memory.config, len(stems))
        tables = []
        for layer, stem in enumerate(stems):
            columns, centres = split_centres(_without(_group(on_device, stem), stem))
            # Earlier releases kept what tells of spans in every layer.
            own = {name: one for name, one in columns.items() if layout.has(name, layer)}
            tables.append(RowTable(own, centres))
        memory.long_term = memory.long_term_of(tables)
        memory.long_term.waiting = header.waiting
        memory.long_term.writes_since_merge = header.writes_since_merge


def _stem(layer: int) -> str:
    """How the names of a layer's long-term columns begin."""
    return f"store.{layer}."


def _group(tensors: dict[str, _T], stem: str) -> dict[str, _T]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(stem)}


def _without(tensors: dict[str, _T], stem: str) -> dict[str, _T]:
    return {name.removeprefix(stem): tensor for name, tensor in tensors.items()}
