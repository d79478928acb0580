"""The systems there are, by name; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from memplus.errors import ConfigError
from memplus.systems.protocol import System

if TYPE_CHECKING:
    from memplus.systems.shared import Shared

__all__ = ["SYSTEMS", "make_systems", "usual_systems"]

SYSTEMS = {
    "mplus": "memplus.systems.mplus:MPlusSystem",
    "memoryllm": "memplus.systems.mplus:MemoryLLMSystem",
    "nothing": "memplus.systems.nothing:NothingSystem",
    "bare": "memplus.systems.nothing:BareSystem",
    "in_prompt": "memplus.systems.in_prompt:InPromptSystem",
}
"""Name -> module and class; the class is made of a ``Shared``."""


def make_systems(names: Sequence[str], shared: Shared) -> list[System]:
    """Systems by name, over one model.

    Args:
        names: of the registry, each once.
        shared: what they share.

    Raises:
        ConfigError: a name is unknown or given twice, or the model cannot serve that system.
    """
    for index, name in enumerate(names):
        if name not in SYSTEMS:
            reason = f"there are {', '.join(SYSTEMS)}"
            raise ConfigError("system", value=name, reason=reason)
        if name in names[:index]:
            raise ConfigError("system", value=name, reason="it is named twice")
    return [_factory(name)(shared) for name in names]


def _factory(name: str) -> Callable[[Shared], System]:
    module, _, attribute = SYSTEMS[name].partition(":")
    factory: Callable[[Shared], System] = getattr(import_module(module), attribute)
    return factory


def usual_systems(shared: Shared) -> list[System]:
    """What is compared where nothing else is asked for: the model's memory, and none."""
    long_term = shared.mplus.memory_config.has_long_term
    names = ["mplus", "memoryllm", "nothing"] if long_term else ["memoryllm", "nothing"]
    return make_systems(names, shared)
