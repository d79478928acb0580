"""Right sums around wrong contents: what a forger of files would put in the place of a value."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

ABSURD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 10**9, 10**12, 2**63, 10**40, 1.5, float("nan"), float("inf"),
    "", "x", "\ud800", "../../etc/passwd", [], [[]], [-1], [10**15], {}, {"a": 1},
)  # fmt: skip
"""Values of every JSON type and far outside any bound."""
_ALLOWED_BYTES = 1 << 30
_ALLOWED_SECONDS = 5.0

Change = Callable[[Any], None]


def changes(content: Any, *, most: int = 3) -> Iterator[tuple[str, Any]]:
    """Copies of a JSON object, each with one thing wrong, and what that is.

    Args:
        content: the object.
        most: of a list only this many items, the last among them, are changed.
    """
    for place in _places(content, most):
        name = ".".join(map(str, place))
        for value in ABSURD:
            changed = copy.deepcopy(content)
            *above, last = place
            _at(changed, above)[last] = value
            yield f"{name} = {value!a}", changed
        changed = copy.deepcopy(content)
        *above, last = place
        del _at(changed, above)[last]
        yield f"{name} is gone", changed
    if isinstance(content, dict):
        yield "unknown field", copy.deepcopy(content) | {"nonsense": 1}


def _at(content: Any, place: list[Any]) -> Any:
    for key in place:
        content = content[key]
    return content


def _places(content: Any, most: int) -> Iterator[tuple[Any, ...]]:
    if isinstance(content, dict):
        keys: list[Any] = list(content)
    elif isinstance(content, list):
        keys = sorted({*range(min(most - 1, len(content))), *range(len(content))[-1:]})
    else:
        return
    for key in keys:
        yield (key,)
        for rest in _places(content[key], most):
            yield (key, *rest)


def tensor_changes(tensors: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The same tensors with one of them wrong, and what is wrong."""
    for name, tensor in tensors.items():
        other = torch.int16 if tensor.is_floating_point() else torch.float64
        wrong = {
            "another dtype": tensor.to(other),
            "one more": torch.cat([tensor, tensor[:1]]) if len(tensor) else tensor.unsqueeze(0),
            "one fewer": tensor[:-1] if len(tensor) else tensor.unsqueeze(-1),
            "one dimension more": tensor.unsqueeze(0),
            "flat": tensor.reshape(-1) if tensor.dim() > 1 else tensor.reshape(-1, 1),
            "no rows": tensor[:0],
        }
        if not tensor.is_floating_point():
            info = torch.iinfo(tensor.dtype)
            wrong |= {str(n): torch.full_like(tensor, n) for n in (info.min, 7, info.max)}
        for what, changed in wrong.items():
            yield f"{name}: {what}", tensors | {name: changed.contiguous()}
        yield f"{name} is gone", {n: t for n, t in tensors.items() if n != name}
    yield "one more tensor", tensors | {"nonsense": torch.zeros(3)}


@contextmanager
def bounded() -> Iterator[None]:
    """A block that may take one more gibibyte of memory and a few seconds."""
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + _ALLOWED_BYTES, hard))
    begun = time.monotonic()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.monotonic() - begun < _ALLOWED_SECONDS
