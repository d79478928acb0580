"""Adapters that a system was given by training: where they lie, what they are, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from memplus.backbone.lora import Lora
from memplus.errors import ModelError, SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER, RECORD, base_digest, load_adapter
from memplus.mplus.model import MPlus
from memplus.mplus.trained_folder import why_unusable

__all__ = ["SHIPPED", "OwnAdapters"]

SHIPPED = Path(__file__).parents[1] / "assets" / "systems"
"""What comes with memplus, a folder for each system."""
_FINAL = "final"


@dataclass(frozen=True)
class OwnAdapters:
    """The adapters of one system, which need not be there."""

    system: str
    """Its name in the registry, with the option that asks for them where one does."""
    makes: tuple[str, ...]
    """The commands that make them, in their order."""
    folder: Path
    parts: tuple[str, ...] = ("",)
    """Folders in it, of one adapter each; empty: the folder itself. The folder of a training will
    do too, which leaves its adapter in ``final``."""

    def _place(self, part: str) -> Path:
        """Where one of them lies."""
        given = self.folder / part
        left = given / _FINAL
        return left if (left / RECORD).is_file() and not (given / RECORD).is_file() else given

    @property
    def missing(self) -> str:
        """The first file that is not there, as a statement; empty: nothing is missing."""
        files = (self._place(part) / name for part in self.parts for name in (RECORD, ADAPTER))
        return next((f"{one} is not there" for one in files if not one.is_file()), "")

    def require(self) -> None:
        """Say what is missing before anything runs.

        Raises:
            SystemWeightsError: a file is not there.
        """
        if self.missing:
            raise self.refused(self.missing)

    def refused(self, reason: str) -> SystemWeightsError:
        """The error for adapters that cannot be used."""
        return SystemWeightsError(self.system, reason=reason, commands=self.makes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights of all of them, in hex; empty where there are none."""
        found = [(self._place(part) / ADAPTER).read_bytes() for part in self.parts]
        return sha256(b"".join(found)).hexdigest() if found else ""

    def load(self, model: MPlus, part: str = "") -> Lora:
        """One of them.

        Args:
            model: whose base it was trained on.
            part: its folder.

        Raises:
            SystemWeightsError: it is not there, was trained on another model, or is damaged.
        """
        backbone = model.core.backbone
        try:
            digest = None if model.origin is None else base_digest(model.origin, backbone)
            return load_adapter(self._place(part), backbone, digest)
        except ModelError as error:
            raise self.refused(why_unusable(error)) from error
