"""An adapter by itself, in a folder: weights in bfloat16, and what they belong to.

``adapter.safetensors`` holds the weights by the names of the decoder's layers; ``adapter.json``
says their sizes, which base model they were trained on, and how. A system that needs weights of its
own finds them in such a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from memplus.backbone.access import Backbone
from memplus.backbone.base_weights import stored_weights
from memplus.backbone.layouts import read_reference
from memplus.backbone.lora import Lora, LoraSizes
from memplus.errors import BundleBaseError, WeightsError
from memplus.mplus.fingerprint import stored_digest
from memplus.mplus.locating import Origin
from memplus.mplus.trained_folder import read_values, write_trained

__all__ = [
    "ADAPTER",
    "RECORD",
    "AdapterRecord",
    "base_digest",
    "load_adapter",
    "read_record",
    "save_adapter",
]

ADAPTER, RECORD = "adapter.safetensors", "adapter.json"


@dataclass(frozen=True)
class AdapterRecord:
    """What an adapter is, as plain values."""

    sizes: LoraSizes
    base: str
    """Name of the base model, a directory's path, or a hub id."""
    weights: str
    """SHA-256 of the base's stored weights."""
    trained: Mapping[str, Any] = field(default_factory=dict)
    """How it was made, for people."""


def base_digest(origin: Origin, backbone: Backbone) -> str | None:
    """SHA-256 of the stored weights of the base that a model stands on, in hex.

    Args:
        origin: where the model's stock weights came from.
        backbone: it.

    Returns:
        None where its directory is gone.
    """
    if origin.bundle is not None:
        reference = read_reference(origin.bundle)
        return None if reference is None else reference.weights
    if not origin.path.is_dir():
        return None
    return stored_digest(stored_weights(origin.path, backbone.model))


def save_adapter(folder: Path, lora: Lora, record: AdapterRecord) -> None:
    """Write an adapter in bfloat16; the folder is made where it is missing.

    Raises:
        StorageError: the disk refused.
    """
    write_trained(folder / ADAPTER, lora.tensors(), folder / RECORD, asdict(record))


def read_record(folder: Path) -> AdapterRecord:
    """What lies in a folder.

    Raises:
        MissingWeightsDirectory: no adapter does.
        ConfigError: its record is damaged, or of another format.
        StorageError: it cannot be read.
    """
    return read_values(folder / ADAPTER, folder / RECORD, _record)


def _record(values: dict[str, Any]) -> AdapterRecord:
    sizes = values.pop("sizes")
    made = LoraSizes(int(sizes["rank"]), int(sizes["alpha"]), tuple(sizes["targets"]))
    return AdapterRecord(made, str(values["base"]), str(values["weights"]), values["trained"])


def load_adapter(folder: Path, backbone: Backbone, digest: str | None = None) -> Lora:
    """An adapter, ready to be used on a decoder, in the decoder's dtype and without gradients.

    Args:
        folder: holds it.
        backbone: the decoder.
        digest: of the decoder's base (``base_digest``); None: only shapes are compared.

    Raises:
        MissingWeightsDirectory, ConfigError, StorageError: see ``read_record``.
        BundleBaseError: it was trained on another base.
        WeightsError: its weights do not fit the decoder.
    """
    record = read_record(folder)
    if digest is not None and digest != record.weights:
        part = "SHA-256 of its weights"
        raise BundleBaseError(
            folder, base=record.base, part=part, found=digest, expected=record.weights
        )
    with torch.random.fork_rng(devices=[]):
        lora = Lora(backbone, record.sizes)
    try:
        tensors = load_file(folder / ADAPTER)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(folder, misshapen={ADAPTER: str(error)}) from error
    lora.load(tensors, str(folder))
    nn.Module.requires_grad_(lora, requires_grad=False)
    return lora
