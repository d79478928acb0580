"""The trained weights of a mechanism in a folder: bfloat16, and what they belong to.

``weights.safetensors`` holds them by the mechanism's names; ``record.json`` says which system they
are of, which of its options they were trained with, on which base model, and how.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from memplus.errors import BundleBaseError, ConfigError, WeightsError
from memplus.errors.base import storage_errors
from memplus.mplus.trained_folder import read_values, write_trained
from memplus.systems.latent.mechanism import Mechanism

__all__ = [
    "RECORD",
    "WEIGHTS",
    "WeightsRecord",
    "load_weights",
    "missing_file",
    "read_record",
    "save_weights",
]

WEIGHTS, RECORD = "weights.safetensors", "record.json"


@dataclass(frozen=True)
class WeightsRecord:
    """What weights are, as plain values."""

    system: str
    """Name of the system in the registry."""
    sizes: Mapping[str, Any]
    """The options that they were trained with and hold for, as JSON values."""
    base: str
    """Name of the base model, a directory's path, or a hub id."""
    base_weights: str
    """SHA-256 of the base's stored weights (``mplus.adapter_folder.base_digest``)."""
    trained: Mapping[str, Any] = field(default_factory=dict)
    """How they were made, for people."""

    def require(
        self, system: str, sizes: Mapping[str, Any], where: Path, noted: Collection[str] = ()
    ) -> None:
        """Refuse weights of another system, or that were trained with other sizes.

        Args:
            system: that is to use them.
            sizes: of it, by the options' names.
            where: the folder, for the error.
            noted: names of options that may differ, and need not be in the record.

        Raises:
            ConfigError: it names the first option that differs.
        """
        if self.system != system:
            reason = f"the weights in {where} were trained for {self.system}"
            raise ConfigError("system", value=system, reason=reason)
        for name in {**sizes, **self.sizes}:
            if name not in noted and self.sizes.get(name) != sizes.get(name):
                trained = json.dumps(self.sizes.get(name))
                reason = f"the weights in {where} were trained with {name}={trained}"
                if name not in self.sizes:
                    reason = f"{where / RECORD} does not say with which {name} they were trained"
                raise ConfigError(f"{system}:{name}", value=sizes.get(name), reason=reason)


def missing_file(folder: Path) -> str:
    """The first file of trained weights that a folder lacks, by its path; empty: none."""
    return next((str(folder / n) for n in (RECORD, WEIGHTS) if not (folder / n).is_file()), "")


def save_weights(folder: Path, mechanism: Mechanism[Any], record: WeightsRecord) -> None:
    """Write a mechanism's weights in bfloat16; the folder is made where it is missing.

    Raises:
        StorageError: the disk refused.
    """
    write_trained(folder / WEIGHTS, mechanism.trained(), folder / RECORD, asdict(record))


def read_record(folder: Path) -> WeightsRecord:
    """What lies in a folder.

    Raises:
        MissingWeightsDirectory: no trained weights do.
        ConfigError: their record is damaged, or of another format.
        StorageError: it cannot be read.
    """
    return read_values(folder / WEIGHTS, folder / RECORD, _record)


def _record(values: dict[str, Any]) -> WeightsRecord:
    system, base, digest = (str(values.pop(n)) for n in ("system", "base", "base_weights"))
    return WeightsRecord(
        system, dict(values.pop("sizes")), base, digest, dict(values.pop("trained"))
    )


def load_weights(folder: Path, mechanism: Mechanism[Any], digest: str | None = None) -> None:
    """Put trained weights into a mechanism, which is then ready to be used and not to be trained.

    Args:
        folder: holds them.
        mechanism: of the sizes that the weights were trained with (``WeightsRecord.require``).
        digest: of its decoder's base (``base_digest``); None: only shapes are compared.

    Raises:
        MissingWeightsDirectory, ConfigError, StorageError: see ``read_record``.
        BundleBaseError: they were trained on another base.
        WeightsError: they do not fit, or are damaged.
    """
    record = read_record(folder)
    if digest is not None and digest != record.base_weights:
        part = "SHA-256 of its weights"
        raise BundleBaseError(
            folder, base=record.base, part=part, found=digest, expected=record.base_weights
        )
    with storage_errors(folder / WEIGHTS):
        try:
            weights = load_file(folder / WEIGHTS)
            mechanism.take_weights(weights)
        except (SafetensorError, ValueError) as error:
            raise WeightsError(folder, misshapen={WEIGHTS: str(error)}) from error
    mechanism.requires_grad_(requires_grad=False).eval()
