"""What HMT keeps of a text: one vector of each of its newest segments, and its last tokens.

Shapes: B rows, n cached vectors, s sensory tokens, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["HMTState", "restored_state"]


@dataclass(frozen=True)
class HMTState:
    """The state behind a segment; it never changes."""

    cache: Tensor
    """[B, n, d] one vector for each segment, oldest first."""
    sensory: Tensor
    """[B, s] ids of the last tokens of the segment before."""
    bounds: tuple[int, ...]
    """n + 1 numbers: vector i is of the tokens from bounds[i] to bounds[i + 1] of all that was
    written."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """See ``MechanismState.tensors``."""
        return {"cache": self.cache, "sensory": self.sensory, "bounds": torch.tensor(self.bounds)}

    @property
    def nbytes(self) -> int:
        """See ``MechanismState.nbytes``."""
        return sum(one.nbytes for one in self.tensors.values())

    @property
    def rows(self) -> int:
        """See ``MechanismState.rows``."""
        return len(self.cache)

    @property
    def tokens(self) -> int:
        """See ``MechanismState.tokens``."""
        return self.bounds[-1]

    def detached(self) -> HMTState:
        """See ``MechanismState.detached``."""
        return replace(self, cache=self.cache.detach())

    def repeated(self, times: int) -> HMTState:
        """See ``MechanismState.repeated``."""
        cache, sensory = (one.repeat_interleave(times, 0) for one in (self.cache, self.sensory))
        return replace(self, cache=cache, sensory=sensory)

    def followed(self, vector: Tensor, sensory: Tensor, *, tokens: int, kept: int) -> HMTState:
        """The state behind one more segment.

        Args:
            vector: [B, d] of it.
            sensory: [B, s] ids of its last tokens.
            tokens: of it.
            kept: most vectors; the oldest leave.
        """
        cache = torch.cat([self.cache, vector[:, None]], dim=1)[:, -kept:]
        bounds = (*self.bounds, self.tokens + tokens)[-kept - 1 :]
        return HMTState(cache, sensory, bounds)


def restored_state(
    tensors: Mapping[str, Tensor], like: HMTState, *, kept: int, sensory: int, vocabulary: int
) -> HMTState:
    """The state that has these tensors.

    Args:
        tensors: as ``HMTState.tensors`` gave them, on any device.
        like: an empty state of the same mechanism: its width, dtypes and device.
        kept: most vectors.
        sensory: most sensory tokens.
        vocabulary: ids lie below it.

    Raises:
        ValueError: see ``Mechanism.restored``.
    """
    names = like.tensors.keys()
    if tensors.keys() != names:
        raise ValueError(f"{sorted(tensors.keys() ^ names)[0]} is missing, or belongs elsewhere")
    for name, own in like.tensors.items():
        if tensors[name].dtype != own.dtype:
            raise ValueError(f"{name} is of {tensors[name].dtype}, not {own.dtype}")
    cache, ids, bounds = (tensors[name] for name in ("cache", "sensory", "bounds"))
    width = like.cache.shape[2]
    if cache.dim() != 3 or cache.shape[2] != width or cache.shape[1] > kept:
        raise ValueError(f"cache is {list(cache.shape)} in size, not [B, up to {kept}, {width}]")
    if not bool(cache.isfinite().all()):
        raise ValueError("cache holds what is no number")
    rows, count = cache.shape[:2]
    if ids.dim() != 2 or len(ids) != rows or ids.shape[1] > sensory:
        raise ValueError(f"sensory is {list(ids.shape)} in size, not [{rows}, up to {sensory}]")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise ValueError(f"sensory holds ids that are not below {vocabulary}")
    if list(bounds.shape) != [count + 1]:
        raise ValueError(f"bounds is {list(bounds.shape)} in size, not [{count + 1}]")
    if int(bounds[0]) < 0 or bool((bounds.diff() <= 0).any()):
        raise ValueError("bounds do not rise from 0 on")
    if count < kept and int(bounds[0]):
        raise ValueError(f"bounds begin at {int(bounds[0])}, though no vector has left")
    last = int(bounds[-1] - bounds[-2]) if count else 0
    if ids.shape[1] != min(sensory, last):
        raise ValueError(f"sensory has {ids.shape[1]} tokens of a segment of {last}")
    device = like.cache.device
    return HMTState(cache.to(device), ids.to(device), tuple(bounds.tolist()))
