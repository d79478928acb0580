"""Base models in the cache: fetched once, converted once, and whole or not there.

A model is made aside and put in place by one rename, by one process at a time. What a killed one
leaves behind is never read as a model; wheels that it had fetched are used by the next.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from memplus.mplus.base_sources import SOURCES, Source, Unavailable, size_of
from memplus.mplus.bases import Base, known_bases

__all__ = [
    "CachedBase",
    "Leftover",
    "cache_folder",
    "cached_base",
    "is_damaged",
    "leftovers",
    "pull",
    "remove_base",
]

_RECORD = "base.json"
_PARTIAL = ".partial"
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
    conversion: int
    """How it was made; see ``_CONVERSION``."""


@dataclass(frozen=True)
class Leftover:
    """What takes room in the cache without being the base model that its name now stands for."""

    name: str
    """By which ``remove_base`` removes it."""
    path: Path
    nbytes: int
    """Bytes of its files."""
    state: str
    """What it is, in a few words."""
    beside_model: bool = False
    """Whether a whole model of that name lies beside it, which ``remove_base`` removes, too."""


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
    if found is None or (found.sha256, found.conversion) != (base.sha256, _CONVERSION):
        return None
    return found


def is_damaged(found: CachedBase) -> bool:
    """Whether a file of a model in the cache has changed since it was made; all of them are read.

    Models that earlier releases made keep no digests and are never called damaged.

    Raises:
        StorageError: a file cannot be read.
    """
    with storage_errors(found.path):
        record = json.loads((found.path / _RECORD).read_text(encoding="utf-8"))
        digests: dict[str, str] = record.get("digests", {})
        return any(_digest(found.path / name) != digest for name, digest in digests.items())


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def leftovers(cache: Path | None = None) -> list[Leftover]:
    """Whatever else ``remove_base`` frees in the cache, by name.

    Args:
        cache: the folder; ``cache_folder()`` by default.

    Raises:
        StorageError: the cache cannot be read.
    """
    root = cache_folder() if cache is None else cache
    with storage_errors(root):
        folders = [one for one in root.iterdir() if one.is_dir()] if root.is_dir() else []
    found: list[Leftover] = []
    for folder in folders:
        state = _left(folder)
        if state is not None:
            name = folder.name.removeprefix(".").removesuffix(_PARTIAL)
            beside = root / name != folder and _read_record(root / name) is not None
            found.append(Leftover(name, folder, size_of(folder), state, beside))
    return sorted(found, key=lambda one: (one.name, one.path))


def _left(folder: Path) -> str | None:
    """What a folder in the cache is, None where it is a known model or nothing of ours."""
    if folder.name.startswith("."):
        ours = folder.name.endswith(_PARTIAL)
        return "of a pull that was interrupted or still runs" if ours else None
    base, found = known_bases().get(folder.name), _read_record(folder)
    if found is None:
        return "no whole model"
    if base is None:
        return "unknown to this release of memplus"
    if found.sha256 != base.sha256:
        return "made from another file"
    return None if found.conversion == _CONVERSION else "made by another release of memplus"


def _read_record(folder: Path) -> CachedBase | None:
    """What a folder says of itself, None where it is not whole."""
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        sizes: dict[str, int] = record["files"]
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        if not whole:
            return None
        made = str(record["sha256"]), int(record["conversion"])
        return CachedBase(folder.name, folder, sum(sizes.values()), *made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def pull(
    base: Base,
    files: Sequence[Path] = (),
    *,
    cache: Path | None = None,
    watch: Watch = QUIET,
    sources: Sequence[Source] = SOURCES,
    verify: bool = False,
) -> CachedBase:
    """The base model, fetched and converted where the cache does not hold it yet.

    Args:
        base: the model.
        files: what carries its GGUF (see ``base_files.assemble``); nothing is fetched then.
        cache: the folder; ``cache_folder()`` by default.
        watch: who is told what happens.
        sources: asked in this order where no files are given.
        verify: read what the cache holds, and make it anew if it is damaged; until another is
            whole, it stays.

    Raises:
        NotFoundError, UsageError, BasePartsError, BaseFileError: the files cannot be used.
        BaseDigestError: what was given is another file.
        BaseUnavailableError: no source has it, or what it has is another file or damaged; says
            which file to bring.
        StorageError: the disk refused, or has too little space, or a file cannot be read; nothing
            that this call fetched is left behind.
        UnsupportedModelError, WeightsError: the libraries here cannot read the file.
    """
    root = cache_folder() if cache is None else cache
    found = _found(base, root, verify=verify)
    if found is not None and not files:
        return found
    if not files and not sources:
        raise _unavailable(base, ["no source may be asked"])
    target = root / base.name
    with storage_errors(target):
        root.mkdir(parents=True, exist_ok=True)
        with _alone(target, watch):
            found = _found(base, root, verify=verify)  # another process may have made it
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


def _found(base: Base, root: Path, *, verify: bool) -> CachedBase | None:
    found = cached_base(base, root)
    return None if found is not None and verify and is_damaged(found) else found


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
    target, work = root / name, _work(root, name)
    held = {one.name for one in root.iterdir()} if root.is_dir() else set()
    if not name or name.startswith(".") or not {target.name, work.name} & held or "/" in name:
        raise NotCachedError(name, path=root)
    with storage_errors(target), locked(target, wait=None):
        size = sum(size_of(folder) for folder in (target, work))
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

    Gone afterwards, except after a failure: wheels that were fetched until then are used by the
    next call. Where the disk refused, only those of earlier calls stay.
    """
    work = _work(root, base.name)
    earlier = _wheels(work)
    _clear(work, keep=earlier)
    (work / "gguf").mkdir(parents=True)
    try:
        yield work
    except (OSError, StorageError):
        _clear(work, keep=earlier)
        raise
    except BaseException:
        _clear(work, keep=_wheels(work))
        raise
    else:
        shutil.rmtree(work, ignore_errors=True)


def _work(root: Path, name: str) -> Path:
    return root / f".{name}{_PARTIAL}"


def _wheels(work: Path) -> set[Path]:
    return set(work.glob("wheels/*.whl"))


def _clear(work: Path, *, keep: set[Path]) -> None:
    """Remove what lies in a folder to work in but for these wheels; with the last one, itself."""
    if not keep:
        shutil.rmtree(work, ignore_errors=True)
        return
    for place in work.iterdir():
        if place.name != "wheels":
            shutil.rmtree(place, ignore_errors=True)
    for wheel in _wheels(work) - keep:
        with contextlib.suppress(OSError):
            wheel.unlink()


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
    free = shutil.disk_usage(work).free + size_of(work)
    if free < needed:
        reason = f"{needed / 1e6:,.0f} MB are needed, and {free / 1e6:,.0f} MB are free"
        raise StorageError(work.parent / base.name, reason=reason, code=errno.ENOSPC)


def _fetch(base: Base, work: Path, gguf: Path, watch: Watch, sources: Sequence[Source]) -> None:
    """The file of the first source that has it; what another file gives does not count."""
    watch = _announcing(
        f"Fetching {base.name} ({base.model}): {base.nbytes / 1e6:.0f} MB, licence {base.licence}; "
        f"it will take {base.converted_bytes / 1e6:.0f} MB in {work.parent}.",
        watch,
    )
    reasons: list[str] = []
    for source in sources:
        given: list[Path] = []
        try:
            given = source(base, work, watch)
            assemble(base, given, gguf, watch)
        except Unavailable as reason:
            reasons.append(str(reason))
        except (BaseDigestError, BaseFileError, BasePartsError, NotFoundError) as error:
            reasons.append(error.message.rstrip("."))
        else:
            return
        shutil.rmtree(work / "hub", ignore_errors=True)  # room for what the next source gives
        for wheel in _wheels(work).intersection(given):
            wheel.unlink()
    raise _unavailable(base, reasons)


def _announcing(line: str, watch: Watch) -> Watch:
    """A watch that says a line first, as soon as there is something to tell."""
    unsaid = [line]

    def progress(stage: str, done: int, total: int) -> None:
        if unsaid:
            watch.line(unsaid.pop())
        watch.progress(stage, done, total)

    return replace(watch, progress=progress)


def _unavailable(base: Base, reasons: Sequence[str]) -> BaseUnavailableError:
    return BaseUnavailableError(base.name, file=base.wanted, reasons=reasons)


def _make(base: Base, gguf: Path, work: Path, target: Path, watch: Watch) -> None:
    """Convert the checked file and put the result in place."""
    from memplus.backbone.gguf import convert

    made = work / "converted"
    for fetched in ("wheels", "hub"):
        shutil.rmtree(work / fetched, ignore_errors=True)
    watch.progress("converting", 0, 0)
    convert(gguf, made, parameters=base.parameters)
    files = sorted(made.iterdir())
    record = {
        "name": base.name,
        "model": base.model,
        "file": base.file,
        "sha256": base.sha256,
        "licence": base.licence,
        "conversion": _CONVERSION,
        "files": {file.name: file.stat().st_size for file in files},
        "digests": {file.name: _digest(file) for file in files},
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


def _vanished(target: Path) -> CachedBase:
    raise NotFoundError(target, kind="cached model", note=": it was removed meanwhile")
