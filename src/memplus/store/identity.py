"""Whether a model is the one that wrote a memory of a store, and what differs if not."""

from __future__ import annotations

from contextlib import suppress

import torch

from memplus.config import MemoryConfig
from memplus.errors import ConfigError, MemoryMismatchError, MemplusError
from memplus.memory.mismatch import mismatch, written_dtype
from memplus.memory.state import MemoryHost
from memplus.store.blocks import read_records
from memplus.store.container_contents import POOL
from memplus.store.folder import Folder
from memplus.store.manifest import Manifest

__all__ = ["check_identity", "model_name", "same_weights"]


def check_identity(manifest: Manifest, model: MemoryHost, folder: Folder) -> None:
    """Refuse a memory that another model wrote; looks at every bit of the model's weights.

    Raises:
        MemoryMismatchError: it says what differs.
    """
    try:
        theirs = MemoryConfig.from_dict(manifest.config)
    except ConfigError as error:
        raise MemoryMismatchError(differs=error.message) from error
    differs = model.memory_config.differs(theirs)
    sizes = bool(differs)
    if not differs:
        model.check_weights()
        mine = dict(model.identity_of(theirs))
        names = mine.keys() | manifest.identity.keys()
        differs += sorted(n for n in names if mine.get(n) != manifest.identity.get(n))
    if not differs and manifest.fingerprint != model.fingerprint_of(theirs):
        differs.append("the model's weights or dtype")
    if differs:
        dtypes = _written_dtype(folder, manifest), model.row_shape[2]
        models = manifest.model, model_name(model)
        raise mismatch(differs, dtypes=dtypes, models=models, sizes=sizes)


def same_weights(manifest: Manifest, model: MemoryHost) -> bool:
    """Whether the model still has the weights that wrote a memory it has opened."""
    return manifest.fingerprint == model.fingerprint_of(MemoryConfig.from_dict(manifest.config))


def _written_dtype(folder: Folder, manifest: Manifest) -> torch.dtype | None:
    """In which dtype its rows were made; None where there are none, or they cannot be read."""
    state = manifest.current
    with suppress(MemplusError, OSError):  # that the models differ is known without it
        kept = folder.map(state.snapshot)
        pool = {n.removeprefix(POOL): kept.dtype(n) for n in kept.names if n.startswith(POOL)}
        for part in state.logs if not pool else ():
            for record in read_records(folder.path / part.name, part.length):
                if "hidden.0" in record.names:
                    pool["hidden"] = record.dtype("hidden.0")
        return written_dtype(pool)
    return None


def model_name(model: MemoryHost) -> str:
    """As a manifest keeps it, for people."""
    return model.name.encode(errors="replace").decode()
