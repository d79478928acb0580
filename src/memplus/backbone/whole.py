"""Loaded models whose weights are not all where, or what, they seem to be.

A memory's rows lie on one device and follow from weights that can be read and compared.
"""

from __future__ import annotations

from torch import nn

from memplus.errors import UnsupportedModelError

__all__ = ["check_whole"]

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def check_whole(model: nn.Module) -> None:
    """Refuse a loaded model that lies on several devices, or whose weights torch has packed.

    Raises:
        UnsupportedModelError: with what to do instead.
    """
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_QUANTISED):
            reason = (
                f"torch has quantised {name}, whose packed weights cannot be compared with those "
                "that a memory was made with; load it in bfloat16 to save room"
            )
            raise UnsupportedModelError(type(model).__name__, reason=reason)
        if hasattr(module, "_hf_hook"):
            raise _offloaded(model, f"{name or 'it'} is moved while it runs (device_map, offload)")
    devices = {str(weight.device) for weight in model.parameters()}
    devices |= {"meta" for buffer in model.buffers() if buffer.is_meta}
    if len(devices) > 1 or "meta" in devices:
        raise _offloaded(model, f"its weights lie on {', '.join(sorted(devices))}")


def _offloaded(model: nn.Module, what: str) -> UnsupportedModelError:
    reason = f"{what}; load it whole onto one device, without device_map and offloading"
    return UnsupportedModelError(type(model).__name__, reason=reason)
