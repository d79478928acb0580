"""Why a memory does not belong to a model, as far as both are known.

Rows are looked up and read by the weights that made them, in the dtype that those had; the error
names the model and the dtype with which the memory can be opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from memplus.errors import MemoryMismatchError

__all__ = ["mismatch", "written_dtype"]


def written_dtype(pool: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """In which dtype rows were made: that of the pool, which is never packed.

    Args:
        pool: column of the short-term pool -> its dtype.

    Returns:
        None where the pool has no rows yet.
    """
    return next((pool[name] for name in ("k", "hidden") if name in pool), None)


def mismatch(
    differs: Sequence[str],
    *,
    dtypes: tuple[torch.dtype | None, torch.dtype],
    models: tuple[str, str] = ("", ""),
    sizes: bool = False,
) -> MemoryMismatchError:
    """The error for a memory and a model.

    Args:
        differs: names of what differs; what follows from another dtype may be among it.
        dtypes: of the memory's rows, None where it is not known, and of the model.
        models: names of the model that wrote the memory and of this one; empty: not known.
        sizes: whether it is the configs that differ: then two models are not compared any further,
            and of one model the dtype is not to blame.
    """
    wrote, own = models
    written, dtype = (None if one is None else str(one).removeprefix("torch.") for one in dtypes)
    others = bool(wrote and own and wrote != own)
    casts = written is not None and written != dtype and (others or not sizes)
    named = [] if casts or (others and sizes) else list(differs)
    return MemoryMismatchError(
        differs=", ".join(named),
        models=(wrote, own) if others else None,
        dtypes=(str(written), str(dtype)) if casts else None,
    )
