"""memplus: a long memory for language models, kept in their hidden states (M+ and MemoryLLM).

The public surface is what ``__all__`` names. Names are resolved on first use, so
``import memplus`` costs nothing: no model library, no web stack and no plotting is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from memplus import errors
from memplus.errors import MemplusError

if TYPE_CHECKING:
    from memplus.config import MemoryConfig
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus
    from memplus.store.store import MemoryStore

__version__ = "0.1.0"

__all__ = [
    "MPlus",
    "Memory",
    "MemoryConfig",
    "MemoryStore",
    "MemplusError",
    "__version__",
    "errors",
]

_HOMES = {
    "MPlus": "memplus.mplus.model",
    "Memory": "memplus.memory.state",
    "MemoryConfig": "memplus.config",
    "MemoryStore": "memplus.store.store",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'memplus' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
