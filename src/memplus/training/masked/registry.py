"""Every kind of examples that a config can name. A new one is a file of its own and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from memplus.training.engine.config_file import entry
from memplus.training.masked.example import ExampleKind

__all__ = ["KINDS", "kind_from"]

KINDS = {
    "memllm_read": "memplus.training.masked.memllm_read:MemLLMReads",
    "memllm_write": "memplus.training.masked.memllm_write:MemLLMWrites",
    "ret_llm": "memplus.training.masked.ret_llm:RetLLMExamples",
    "scm_controller": "memplus.training.masked.scm_controller:SCMControllerExamples",
}
"""Name -> module and class."""


def kind_from(given: Any) -> ExampleKind:
    """The kind of an entry of a config: ``{kind: KIND, ...}`` with the fields of that kind.

    Raises:
        ConfigError: there is no such kind, or a field is not one of its own.
    """
    if isinstance(given, ExampleKind):
        return given
    return entry(given, "kind", _kind, KINDS)


def _kind(name: str) -> type[ExampleKind]:
    module, _, attribute = KINDS[name].partition(":")
    found: type[ExampleKind] = getattr(import_module(module), attribute)
    return found
