"""Every kind of examples that a config can name. A new one is a file of its own and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from memplus.errors import ConfigError
from memplus.fields import WHOLE, checked
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
    if not isinstance(given, Mapping):
        raise ConfigError(WHOLE, value=given, reason="it must be fields and values, `kind` first")
    fields = dict(given)
    name = fields.pop("kind", None)
    if name not in KINDS:
        raise ConfigError("kind", value=name, reason=f"the kinds are {', '.join(KINDS)}")
    module, _, attribute = KINDS[str(name)].partition(":")
    made: ExampleKind = checked(getattr(import_module(module), attribute), fields)
    return made
