"""One memory as one file: safetensors, with everything else as JSON in its header.

The header's JSON holds the format version, the model's fingerprint, the config, sources, tail
and generator, and a SHA-256 over the whole file (taken with the digest's own place zeroed), so
that any flipped byte or missing end is found before anything is used. Never pickle.

Shapes: L layers, N short-term rows, n stored rows of a layer.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.errors import (
    ConfigError,
    CorruptMemoryError,
    MemoryChangedError,
    MemoryFileError,
    MemoryMismatchError,
    MemoryVersionError,
)
from memplus.errors.base import storage_error
from memplus.memory.contents import MemoryContents
from memplus.memory.files import aside
from memplus.memory.records import MemoryOwner, SavedFile, WriteRecord
from memplus.memory.rows import RowTable
from memplus.memory.short_term import ShortTermPool

__all__ = ["VERSION", "load_contents", "read_header", "save_contents"]

VERSION = 1
_BLANK = "0" * 64
_FIELD = b'"sha256":"'
_OWN = ("recent", "position", "birth", "write_id")
_BLOCK = 1 << 22

Migration = Callable[[dict[str, Any], dict[str, Tensor]], None]
MIGRATIONS: dict[int, Migration] = {}
"""Format version -> what turns it into the next one, in place."""


def save_contents(memory: MemoryContents, path: str | os.PathLike[str]) -> None:
    """Write a memory to ``path``; see ``Memory.save``."""
    path = Path(path)
    _refuse_changed(memory, path)
    with aside(path) as temporary:
        try:
            save_file(_tensors(memory), temporary, {"sha256": _BLANK, "memplus": _header(memory)})
        except SafetensorError as error:  # the library reports a full disk in its own class
            raise storage_error(path, error) from error
        place = _digest_place(temporary)
        digest = _digest(temporary, place)
        with temporary.open("r+b") as file:
            file.seek(place)
            file.write(digest.encode())
            file.flush()
            os.fsync(file.fileno())
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
        found = _stored_digest(path, _digest_place(path))
    except MemoryFileError:
        found = ""
    except OSError as error:
        raise storage_error(path, error) from error
    if found != saved.digest:
        raise MemoryChangedError(path)


@torch.inference_mode(mode=False)
def load_contents(memory: MemoryContents, path: str | os.PathLike[str]) -> None:
    """Make a memory what a file holds; see ``Memory.load``."""
    path = Path(path)
    header = read_header(path)
    if header.get("fingerprint") != memory.owner.fingerprint:
        raise MemoryMismatchError(differs=_what_differs(header, memory.owner))
    try:
        with safe_open(path, framework="pt") as reader:
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
        for version in range(header["version"], VERSION):
            MIGRATIONS[version](header, tensors)
        _fill(memory, header, tensors)
        memory.saved = SavedFile(path.absolute(), _stored_digest(path, _digest_place(path)))
    except OSError as error:
        raise storage_error(path, error) from error
    except (SafetensorError, ConfigError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptMemoryError(path, reason=f"its content is inconsistent ({error})") from error


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The checked JSON header of a saved memory, without its model.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        MemoryFileError: it is no memory at all.
        CorruptMemoryError, MemoryVersionError.
    """
    path = Path(path)
    try:
        place = _digest_place(path)
        if _stored_digest(path, place) != _digest(path, place):
            raise CorruptMemoryError(path, reason="its checksum differs")
        with safe_open(path, framework="pt") as reader:
            header = json.loads(reader.metadata()["memplus"])
    except OSError as error:
        raise storage_error(path, error) from error
    except (SafetensorError, ValueError, KeyError, struct.error) as error:
        raise CorruptMemoryError(path, reason=str(error) or type(error).__name__) from error
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise MemoryVersionError(path, found=version, supported=VERSION)
    checked: dict[str, Any] = header
    return checked


def _header(memory: MemoryContents) -> str:
    header = {
        "version": VERSION,
        "fingerprint": memory.owner.fingerprint,
        "config": memory.config.to_dict(),
        "seed": memory.seed,
        "max_bytes": memory.max_bytes,
        "clock": memory.clock,
        "count": memory.short_term_rows,
        "writes": [list(asdict(record).values()) for record in memory.writes],
        "tail": memory.tail,
        "tail_source": memory.tail_source,
        "source_tokens": memory.source_tokens,
        "memory_version": memory.version,
        "packed": memory.packed,
    }
    if memory.long_term is not None:
        header["waiting"] = memory.long_term.waiting
        header["writes_since_merge"] = memory.long_term.writes_since_merge
    return json.dumps(header)


def _tensors(memory: MemoryContents) -> dict[str, Tensor]:
    tensors = {"generator": memory.generator.get_state()}
    if memory.pool is not None:
        tensors |= {f"pool.{name}": t for name, t in memory.pool.tensors().items()}
    if memory.long_term is not None:
        for layer, table in enumerate(memory.long_term.tables):
            tensors |= {f"store.{layer}.{name}": c for name, c in table.columns().items()}
    # Forks and grown tables share storage, which the file must not; a pool has its own strides.
    plain = torch.contiguous_format
    return {name: t.detach().cpu().clone(memory_format=plain) for name, t in tensors.items()}


def _fill(memory: MemoryContents, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    memory.seed, memory.max_bytes = header["seed"], header["max_bytes"]
    memory.pool = memory.long_term = None
    memory.derived.clear()
    memory.config = MemoryConfig.from_dict(header["config"])
    memory.clock = header["clock"]
    memory.writes = [WriteRecord(*values) for values in header["writes"]]
    memory.tail = list(header["tail"])
    memory.tail_source = header["tail_source"]
    memory.source_tokens = dict(header["source_tokens"])
    memory.version = header["memory_version"]
    memory.packed = header.get("packed", False)
    memory.generator.set_state(tensors["generator"])
    on_device = {
        name: t.to(memory.owner.device) for name, t in tensors.items() if name != "generator"
    }
    pool = _group(on_device, "pool")
    if pool:
        own = {name: pool.pop(name) for name in _OWN}
        memory.pool = ShortTermPool(pool, own["recent"], header["count"])
        memory.pool.position = own["position"]
        memory.pool.birth = own["birth"]
        memory.pool.write_id = own["write_id"]
    if "waiting" in header:
        layers = len({name.split(".")[1] for name in on_device if name.startswith("store.")})
        tables = [RowTable(_group(on_device, f"store.{layer}")) for layer in range(layers)]
        memory.long_term = memory.long_term_of(tables)
        memory.long_term.waiting = header["waiting"]
        memory.long_term.writes_since_merge = header["writes_since_merge"]


def _group(tensors: dict[str, Tensor], stem: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{stem}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{stem}.")
    }


def _what_differs(header: dict[str, Any], model: MemoryOwner) -> str:
    try:
        config = MemoryConfig.from_dict(header["config"])
    except ConfigError as error:
        return error.message
    ours, theirs = model.memory_config.to_dict(), config.to_dict()
    names = [name for name in ours if ours[name] != theirs[name]]
    return ", ".join(names) if names else "the model's weights or dtype"


def _digest_place(path: Path) -> int:
    """Where the digest stands in the file: inside the safetensors header."""
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise MemoryFileError(path, reason="it is too short to be a memory")
        length = struct.unpack("<Q", start)[0]
        if length > os.fstat(file.fileno()).st_size:
            raise CorruptMemoryError(path, reason="it is not a memory, or truncated")
        header = file.read(length)
    at = header.find(_FIELD)
    if at < 0:
        raise CorruptMemoryError(path, reason="its header has no checksum")
    return 8 + at + len(_FIELD)


def _stored_digest(path: Path, place: int) -> str:
    with path.open("rb") as file:
        file.seek(place)
        return file.read(len(_BLANK)).decode("ascii", "replace")


def _digest(path: Path, place: int) -> str:
    """SHA-256 of the file with the digest's own place blank."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(place))
        digest.update(_BLANK.encode())
        file.seek(place + len(_BLANK))
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
