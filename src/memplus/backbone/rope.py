"""Rotary positions for memory rows, from the model's own rotary module.

Every supported family rotates halves: component i with component i + R/2, over the first R of D.

Shapes: P rows, D head width, R rotated width, H heads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Angles", "Rope", "rotate", "rotate_into"]

Angles = tuple[Tensor, Tensor]
"""cos and sin, [P, R / 2] each."""

# Under these the frequencies depend on the length of the sequence.
_CHANGING = ("dynamic", "longrope")
_BLOCK = 512


class Rope:
    """Angles of positions 0, 1, 2, ... as the model itself would compute them.

    Args:
        rotary: the decoder's ``rotary_emb``.
        config: the decoder's config.
    """

    def __init__(self, rotary: nn.Module, config: Any) -> None:
        self._rotary = rotary
        self._types: dict[str | None, str] = {}
        parameters = config.rope_parameters or {}
        for name, value in parameters.items():
            if isinstance(value, dict):
                self._types[name] = value.get("rope_type", "default")
        if not self._types:
            self._types[None] = parameters.get("rope_type", "default")
        self._switches = [
            int(one["original_max_position_embeddings"])
            for one in (parameters, *(v for v in parameters.values() if isinstance(v, dict)))
            if one.get("rope_type") == "longrope"
        ]
        self._original_length = int(getattr(rotary, "original_max_seq_len", 0))
        self._tables: dict[tuple[str | None, torch.dtype, torch.device], Angles] = {}
        self.positions = _positions_available(config, parameters)

    @property
    def changing(self) -> bool:
        """Whether frequencies depend on the length, so that rotated keys do not stay valid."""
        return any(kind in _CHANGING for kind in self._types.values())

    def switch_between(self, first: int, last: int) -> int | None:
        """The length after which other frequencies hold, where a text grows past one; else None.

        Args:
            first: positions in use as the text begins.
            last: positions in use at its end.
        """
        return next((one for one in self._switches if first <= one < last), None)

    def regime(self, length: int) -> int:
        """Equal for two lengths under which the frequencies are equal."""
        if not self.changing:
            return 0
        if "dynamic" in self._types.values():
            return max(length, self._original_length)
        return sum(switch < length for switch in self._switches)

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """A pass whose frequencies follow from its own length alone, and leave nothing behind.

        The library's dynamic frequencies grow with the longest text ever seen, so a pass would
        depend on the ones before it: here each starts from the original ones.
        """
        if not self.changing:
            yield
            return
        rotary: Any = self._rotary
        own, owner = self._original(), threading.get_ident()
        stock = rotary.forward
        before = rotary.__dict__.get("forward")

        def forward(*args: Any, **kwargs: Any) -> Any:
            """This pass's own frequencies; for other threads the stock module's."""
            if threading.get_ident() == owner:
                return type(rotary).forward(own, *args, **kwargs)
            return stock(*args, **kwargs)

        rotary.forward = forward
        try:
            yield
        finally:
            if before is None:
                del rotary.forward
            else:
                rotary.forward = before

    def _original(self) -> Any:
        """A copy of the rotary module with the frequencies that it began with."""
        rotary: Any = self._rotary
        own: Any = object.__new__(type(rotary))
        own.__dict__.update(rotary.__dict__)
        own._buffers = dict(rotary._buffers)
        for kind, rope_type in self._types.items():
            if rope_type in _CHANGING:
                stem = "" if kind is None else f"{kind}_"
                original = getattr(rotary, f"{stem}original_inv_freq")
                own._buffers[f"{stem}inv_freq"] = original.clone()
                setattr(own, f"{stem}max_seq_len_cached", rotary.original_max_seq_len)
        return own

    def angles(self, kind: str | None, length: int, like: Tensor) -> Angles:
        """cos and sin of positions 0 .. length-1, [length, R / 2] each, in ``like``'s dtype.

        Args:
            kind: layer type where the model has several sets of frequencies, else None.
            length: positions in use in this pass, the prompt's included: under changing
                frequencies it decides which ones hold.
            like: gives dtype and device.
        """
        kind = kind if kind in self._types else None
        key = (kind, like.dtype, like.device)
        table = self._tables.get(key)
        if table is None or table[0].shape[0] < length or self._types[kind] in _CHANGING:
            # Kept for later passes, which may be differentiated.
            with torch.inference_mode(mode=False), torch.no_grad():
                positions = torch.arange(length, device=like.device)[None]
                arguments = (positions,) if kind is None else (positions, kind)
                cos, sin = self._rotary(like, *arguments)
                half = cos.shape[-1] // 2
                table = self._tables[key] = (cos[0, :, :half].clone(), sin[0, :, :half].clone())
        return table[0][:length], table[1][:length]


def _positions_available(config: Any, parameters: dict[str, Any]) -> int:
    available = int(config.max_position_embeddings)
    if parameters.get("rope_type") in ("linear", "dynamic"):
        available = int(available * float(parameters["factor"]))
    elif parameters.get("rope_type") == "yarn":
        # Some configs give the length before scaling, some the one after it.
        original = parameters.get("original_max_position_embeddings") or available
        available = max(available, int(original * float(parameters["factor"])))
    return available


def rotate(states: Tensor, angles: Angles) -> Tensor:
    """Rotate keys [..., P, H, D] by angles [P, R / 2]; differentiable.

    Some families (OLMo2) keep their angles in float32 whatever the dtype of the keys.
    """
    cos, sin = angles[0][:, None, :], angles[1][:, None, :]
    half = cos.shape[-1]
    first, second, rest = states.split([half, half, states.shape[-1] - 2 * half], dim=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    whole = torch.cat([*turned, rest] if rest.shape[-1] else turned, dim=-1)
    return whole.to(states.dtype)


def rotate_into(out: Tensor, states: Tensor, angles: Angles, positions: Tensor) -> None:
    """Rotate keys [P, H, D] at ``positions`` [P] into ``out`` [H, P, D].

    Works in blocks that stay in the processor's cache: a read after a write turns every
    short-term row again, so this is the inner loop of its first token. A room whose rows lie side
    by side gets every block from one beside it, since products of strided numbers are slow. On a
    GPU, where every call has its price, all rows are one block.
    """
    aside = out.stride(-1) != 1
    size = _BLOCK if states.device.type == "cpu" else max(1, states.shape[0])
    for start in range(0, states.shape[0], size):
        block = slice(start, start + size)
        at = positions[block]
        cos, sin = angles[0].index_select(0, at), angles[1].index_select(0, at)
        if cos.dtype != states.dtype:
            out[:, block] = rotate(states[block], (cos, sin)).transpose(0, 1)
            continue
        source, target = states[block].transpose(0, 1), out[:, block]
        if not aside:
            _turn(target, source, cos, sin)
            continue
        turned = source.new_empty(source.shape)
        _turn(turned, source, cos, sin)
        for head, own in zip(target, turned, strict=True):  # quicker than all heads in one copy
            head.copy_(own)


def _turn(target: Tensor, source: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotate [H, P, D] by [P, R / 2] into ``target``, without a temporary."""
    half = cos.shape[-1]
    first, second = source[..., :half], source[..., half : 2 * half]
    torch.mul(first, cos, out=target[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=target[..., half : 2 * half]).addcmul_(first, sin)
    if 2 * half < source.shape[-1]:
        target[..., 2 * half :] = source[..., 2 * half :]
