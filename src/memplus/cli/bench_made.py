"""The command by which figures of ``memplus bench`` came about, without a machine's paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memplus.evaluation.made import Made
    from memplus.systems.shared import Shared

__all__ = ["SMOLLM2", "Given", "made_by"]

SMOLLM2 = "smollm2"
"""The model of ``memplus bench`` where none is named."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a command was given that its figures depend on."""

    benchmark: str
    system: str | None
    options: Mapping[str, object]
    """Flag -> its value, or all of its values; those that are None or empty were not given."""
    small: bool
    model: str
    device: str | None
    texts: Sequence[Path] | None

    @property
    def words(self) -> list[str]:
        """As it can be typed again, but for the paths and the type of the weights."""
        return [
            *("memplus", "bench", self.benchmark),
            *_flags({"system": self.system, **self.options}),
            *(["--small"] if self.small else []),
        ]

    @property
    def further(self) -> list[str]:
        """The model, the device and the texts, where they are not the usual ones."""
        model = "MODEL" if Path(self.model).exists() else self.model
        named = {
            "model": None if self.model == SMOLLM2 else model,
            "device": self.device,
            "texts": "TEXTS" if self.texts else None,
        }
        return _flags(named)


def made_by(given: Given, shared: Shared, remark: str = "") -> Made:
    """How the figures of a command come about.

    Args:
        given: the command.
        shared: the model, as it was opened.
        remark: what should be known beside it.
    """
    import torch

    from memplus.evaluation.made import Made

    dtype = shared.dtype
    words = [*given.words, f"--dtype {dtype} --data DATA", *given.further]
    return Made(" ".join(words), dtype, torch.get_num_threads(), remark)


def _flags(named: Mapping[str, object]) -> list[str]:
    return [
        f"--{flag} {value}"
        for flag, values in named.items()
        for value in (values if isinstance(values, list) else [values])
        if value not in (None, "")
    ]
