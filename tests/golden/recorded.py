"""Golden directories: where they are, and their files as plain dictionaries.

One lies beside this file (``numbers/ORIGIN.md``); more are read from the folder that MEMPLUS_GOLDEN
names, or from ``../shared/golden``.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor


def named_golden() -> Path | None:
    """The folder that MEMPLUS_GOLDEN names; None where it is not set."""
    named = os.environ.get("MEMPLUS_GOLDEN")
    if named and not Path(named).is_dir():
        raise FileNotFoundError(f"MEMPLUS_GOLDEN names {named}, where there is no folder")
    return Path(named) if named else None


HERE = Path(__file__).resolve()
OTHERS = named_golden() or HERE.parents[3] / "shared" / "golden"
_FOUND = {
    path.parent.name: path.parent
    for root in (OTHERS, HERE.parent / "numbers")  # the one that everybody has comes last and wins
    for path in root.glob("*/model.safetensors")
}
DIRECTORIES = [_FOUND[name] for name in sorted(_FOUND)]
# Writes are chained, so what rounding does to one is carried on by the next.
VECTORS = 2e-4
LOGITS = 2e-4
READS, BEFORE_ANY_WRITE = "agefix", "stable"


class Golden:
    """One directory of recorded numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: dict[str, Any] = json.loads((path / "config.json").read_text("utf-8"))
        self.weights = load_file(path / "model.safetensors")
        self.sequence = load_file(path / "sequence.safetensors")
        self.deltas = self._optional("deltas.safetensors")
        self.reads = self._optional("reads.safetensors")

    def _optional(self, name: str) -> dict[str, Tensor]:
        path = self.path / name
        return load_file(path) if path.is_file() else {}

    @property
    def layers(self) -> int:
        """L."""
        return int(self.config["num_hidden_layers"])

    @property
    def is_mplus(self) -> bool:
        """Whether there is a long-term memory."""
        return bool(self.config.get("num_ltm_blocks"))

    @property
    def writes(self) -> int:
        """How many chunks were written."""
        return sum(name.endswith(".delta") and name.startswith("inject.") for name in self.sequence)

    def drop(self, write: int) -> Tensor | None:
        """[L or 1, K] pool positions that a write dropped; None where nothing was."""
        recorded = self.sequence.get(f"inject.{write}.dropped_indices")
        if recorded is not None:
            return recorded
        kept = self.sequence.get(f"inject.{write}.remaining_indices")
        if kept is None:
            return None
        order = self.sequence[f"inject.{write}.randperm"]
        return order[:, kept.shape[1] :]

    def single_writes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Name -> ids [T] and the new rows [L, K, d] of writes on the untouched memory."""
        source, stem = (self.deltas, "") if self.is_mplus else (self.sequence, "delta.")
        return {
            name: (source[f"{stem}{name}.input_ids"], source[f"{stem}{name}.delta"])
            for name in ("long", "equal", "short", "one", "kplus1", "verylong")
            if f"{stem}{name}.delta" in source
        }

    def recorded(self, name: str, variant: str = "") -> list[tuple[int, str]]:
        """After which writes a tensor of the state was recorded, and under which full name."""
        names = [(i, f"{variant}state_after_{i}.{name}") for i in range(1, self.writes + 1)]
        return [(i, full) for i, full in names if full in self.sequence]

    def has_read(self, after: int) -> bool:
        """Whether there is a read after so many writes that can be compared.

        A read without recorded scores met a store shorter than M, where the published code
        reads rows twice.
        """
        names = self.sequence if not self.is_mplus else self.reads
        wanted = "logits" if not self.is_mplus else "retriever_scores.0"
        return self._read_name(wanted, after) in names

    def _read_name(self, name: str, after: int) -> str:
        if not self.is_mplus:
            return f"read_after_{after}.{name}"
        return f"{READS if after else BEFORE_ANY_WRITE}.read_after_{after}.{name}"

    def read(self, name: str, after: int) -> Tensor:
        """A tensor of the read after some writes, of the variant that is the one to match."""
        source = self.reads if self.is_mplus else self.sequence
        return source[self._read_name(name, after)]

    def reads_to_match(self) -> list[int]:
        """After which numbers of writes a read is comparable."""
        return [after for after in range(self.writes + 1) if self.has_read(after)]


@cache
def load(path: Path) -> Golden:
    """Read a directory once."""
    return Golden(path)


def every_directory(*, mplus_only: bool = False) -> pytest.MarkDecorator:
    """Parametrise a test with ``golden`` over the directories present."""
    chosen = [path for path in DIRECTORIES if not mplus_only or load(path).is_mplus]
    return pytest.mark.parametrize("golden", [pytest.param(load(p), id=p.name) for p in chosen])
