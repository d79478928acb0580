"""What this machine's processor, or its GPU, does with bfloat16.

Knows what multiplies alone: no model, no configuration.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch

__all__ = ["bfloat16_unit", "gpu_multiplies_bfloat16", "multiplies_fast"]

_CPUINFO = Path("/proc/cpuinfo")
_AMX = "AMX"
_AVX512 = "AVX512-BF16"
_TENSOR_CORES = 8, 0
"""From this compute capability on a GPU multiplies bfloat16 natively."""


@functools.cache
def bfloat16_unit() -> str | None:
    """What multiplies bfloat16 natively here, ``AMX`` or ``AVX512-BF16``; None: nothing does."""
    has = _features()
    if "amx_bf16" in has:
        return _AMX
    return _AVX512 if "avx512_bf16" in has else None


@functools.cache
def multiplies_fast(dtype: torch.dtype) -> bool:
    """Whether matrix products in ``dtype`` are no slower on this processor than in float32.

    A processor with AVX512-FP16 is of the kind that has AMX. Where the host hides its AMX from a
    guest, AVX512-BF16 is left, at half the rate of float32.
    """
    if dtype == torch.bfloat16:
        return bfloat16_unit() == _AMX or (
            bfloat16_unit() == _AVX512 and "avx512_fp16" not in _features()
        )
    return dtype in (torch.float32, torch.float64)


def gpu_multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA GPU of this machine multiplies bfloat16 natively."""
    return torch.cuda.get_device_capability(device) >= _TENSOR_CORES


@functools.cache
def _features() -> frozenset[str]:
    """Names of what the processor can do, as Linux and PyTorch spell them alike."""
    return _told_by_torch() or _told_by_linux(_CPUINFO)


def _told_by_torch() -> frozenset[str]:
    """What PyTorch found; nothing where this version does not tell."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    found = {} if tell is None else tell()
    return frozenset(name for name, there in found.items() if there is True)


def _told_by_linux(path: Path) -> frozenset[str]:
    """The flags of the first processor in a file such as /proc/cpuinfo; nothing without one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())
