"""The options under which a system can be tried on the tiny model of ``conftest``."""

from __future__ import annotations

from collections.abc import Callable

from tests.systems.hmt.tiny import TINY as HMT
from tests.systems.lamemo import tiny_weights as lamemo
from tests.systems.latent.tiny_weights import tiny_options
from tests.systems.longmem import tiny_weights as longmem
from tests.systems.memllm import tiny_weights as memllm
from tests.systems.memlong import tiny_weights as memlong
from tests.systems.ret_llm.tiny_weights import tiny_weights

from memplus.systems.hmt.system import HMTSystem

__all__ = ["OPTIONS_FOR", "spec_for"]

OPTIONS_FOR: dict[str, Callable[[], dict[str, str]]] = {
    "hmt": lambda: tiny_options(HMTSystem, HMT),
    "in_weights": lambda: {"epochs": "2"},
    "longmem": longmem.options,
    "lamemo": lamemo.tiny_options,
    "memllm": lambda: {"weights": str(memllm.tiny_weights()), "context_sentences": "0"},
    "memlong": memlong.options,
    "ret_llm": lambda: {"weights": str(tiny_weights())},
}
"""Of systems that need weights of their own, which they are given here, or would take long: name ->
options."""


def spec_for(name: str) -> str:
    """A registered system as the command line takes it."""
    options = OPTIONS_FOR[name]() if name in OPTIONS_FOR else {}
    return ":".join([name, *(f"{option}={value}" for option, value in options.items())])
