"""The systems there are, by name; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from memplus.errors import ConfigError
from memplus.fields import parse_spec, with_options
from memplus.systems.protocol import System

if TYPE_CHECKING:
    from memplus.systems.shared import Shared

__all__ = ["BY_NAME_ALONE", "SYSTEMS", "described", "make_systems", "system_class", "usual_systems"]

SYSTEMS = {
    "mplus": "memplus.systems.mplus:MPlusSystem",
    "memoryllm": "memplus.systems.mplus:MemoryLLMSystem",
    "nothing": "memplus.systems.nothing:NothingSystem",
    "bare": "memplus.systems.nothing:BareSystem",
    "full_context": "memplus.systems.full_context:FullContextSystem",
    "window": "memplus.systems.window:WindowSystem",
    "in_weights": "memplus.systems.in_weights.system:InWeightsSystem",
    "bm25": "memplus.systems.bm25:BM25System",
    "embeddings": "memplus.systems.embeddings:EmbeddingsSystem",
    "scm": "memplus.systems.scm.system:SCMSystem",
    "ret_llm": "memplus.systems.ret_llm.system:RetLLMSystem",
    "memllm": "memplus.systems.memllm.system:MemLLMSystem",
    "hmt": "memplus.systems.hmt.system:HMTSystem",
    "longmem": "memplus.systems.longmem.system:LongMemSystem",
    "lamemo": "memplus.systems.lamemo.system:LaMemoSystem",
    "memlong": "memplus.systems.memlong.system:MemLongSystem",
}
"""Name -> module and class; the class is made of a ``Shared`` and its options."""
BY_NAME_ALONE = {"in_weights": "it trains on every text, which takes hours; name it to run it"}
"""Name -> why a system does not run where all are asked for."""


def make_systems(specs: Sequence[str], shared: Shared) -> list[System]:
    """Systems by name, over one model.

    Args:
        specs: ``NAME[:OPTION=VALUE]...`` each, names as in the registry, each of them once with
            the same options.
        shared: what they share.

    Raises:
        ConfigError: a name, an option or a value is unknown, a system is given twice, or the
            model cannot serve it.
    """
    made: list[System] = []
    for spec in specs:
        name, options = parse_spec(spec, "system")
        if name not in SYSTEMS:
            reason = f"there are {', '.join(SYSTEMS)}"
            raise ConfigError("system", value=name, reason=reason)
        kind = system_class(name)
        system = kind(shared, with_options(kind.options_type, name, options))
        if any(one.name == system.name for one in made):
            raise ConfigError("system", value=system.name, reason="it is named twice")
        made.append(system)
    return made


def system_class(name: str) -> Any:
    """The class of a registered system; made of a ``Shared`` and its ``options_type``."""
    module, _, attribute = SYSTEMS[name].partition(":")
    return getattr(import_module(module), attribute)


def described() -> list[dict[str, Any]]:
    """Every system as plain values: name, title, options, and what is missing that it needs."""
    found = []
    for name in SYSTEMS:
        kind = system_class(name)
        options = [one.name for one in fields(kind.options_type)]
        missing = kind.missing()
        found.append({"name": name, "title": kind.called, "options": options, "missing": missing})
    return found


def usual_systems(shared: Shared) -> list[System]:
    """What is compared where nothing else is asked for: the model's memory, and none."""
    long_term = shared.mplus.memory_config.has_long_term
    names = ["mplus", "memoryllm", "nothing"] if long_term else ["memoryllm", "nothing"]
    return make_systems(names, shared)
