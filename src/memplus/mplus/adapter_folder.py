"""An adapter by itself, in a folder: weights in bfloat16, and what they belong to.

``adapter.safetensors`` holds the weights by the names of the decoder's layers; ``adapter.json``
says their sizes, which base model they were trained on, and how. A system that needs weights of its
own finds them in such a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from memplus.backbone.access import Backbone
from memplus.backbone.base_weights import stored_weights
from memplus.backbone.layouts import read_reference
from memplus.backbone.lora import Lora, LoraSizes
from memplus.errors import BundleBaseError, ConfigError, MissingWeightsDirectory, WeightsError
from memplus.errors.base import storage_errors
from memplus.memory.files import aside, write_aside
from memplus.mplus.fingerprint import stored_digest
from memplus.mplus.locating import Origin

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
_FORMAT = 1


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
    values = {"format": _FORMAT, **asdict(record)}
    tensors = {n: t.to("cpu", torch.bfloat16).contiguous() for n, t in lora.tensors().items()}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with aside(folder / ADAPTER) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_aside(folder / RECORD, (json.dumps(values, indent=2) + "\n").encode())


def read_record(folder: Path) -> AdapterRecord:
    """What lies in a folder.

    Raises:
        MissingWeightsDirectory: no adapter does.
        ConfigError: its record is damaged, or of another format.
        StorageError: it cannot be read.
    """
    path = folder / RECORD
    for name in (RECORD, ADAPTER):
        if not (folder / name).is_file():
            raise MissingWeightsDirectory(folder, expected=name)
    with storage_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        values = json.loads(text)
        if values.pop("format") != _FORMAT:
            raise ValueError(f"this release reads format {_FORMAT}")
        sizes = values.pop("sizes")
        made = LoraSizes(int(sizes["rank"]), int(sizes["alpha"]), tuple(sizes["targets"]))
        return AdapterRecord(made, str(values["base"]), str(values["weights"]), values["trained"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(str(path), value=text[:40], reason=f"it is damaged: {error}") from error


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
