"""What a system that remembers in vectors costs beside its bare decoder (``latency.py --system``).

A write is measured beside a forward of the same segment without head and cache, early and once the
state holds as much as it is ever going to; a question behind a state of many tokens beside the same
question behind a state of few. Weights are random: speed does not depend on what they say.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from shapes import Shape, build, now

from memplus.fields import parse_spec, with_options
from memplus.systems.latent.mechanism import Mechanism
from memplus.systems.latent.system import LatentSystem
from memplus.systems.registry import SYSTEMS, system_class

__all__ = ["latent_systems", "measure_system"]

FEW = 1_024
"""Tokens told before the first question."""
WRITES = 16
"""Of which the last half are counted; figures are medians."""


def latent_systems() -> list[str]:
    """Names of the systems that can be measured so."""
    return [name for name in SYSTEMS if issubclass(system_class(name), LatentSystem)]


def measure_system(shape: Shape, spec: str, rounds: int, told: int) -> dict[str, Any]:
    """Ratios and milliseconds of one system, ``NAME[:OPTION=VALUE]...``.

    Args:
        shape: of the decoder.
        spec: the system; without weights of its own it is as training begins with it.
        rounds: questions put to each state.
        told: tokens behind the later figures.
    """
    name, options = parse_spec(spec, "system")
    kind: Any = system_class(name)
    chosen = with_options(kind.options_type, name, {"weights": "none", **options})
    backbone = build(shape).backbone
    words = "the of and to in a is that it was for on as with his he at by had not".split()
    mechanism: Mechanism[Any] = kind.build(
        backbone, chosen, lambda ids: " ".join(words[one % len(words)] for one in ids)
    )
    return _Costs(shape, mechanism.eval(), told).figures(rounds)


class _Costs:
    """One mechanism on one shape."""

    def __init__(self, shape: Shape, mechanism: Mechanism[Any], told: int) -> None:
        self.shape = shape
        self.mechanism = mechanism
        self.told = told
        self.segment = mechanism.segment_tokens
        self._texts = torch.Generator().manual_seed(1)

    def _ids(self, count: int) -> torch.Tensor:
        found = torch.randint(
            self.shape.model.vocab_size, (1, count), generator=self._texts, dtype=torch.int64
        )
        return found.to(self.shape.device)

    def _seconds(self, work: Callable[[], Any]) -> tuple[float, Any]:
        start = now(self.shape.device)
        done = work()
        return now(self.shape.device) - start, done

    @torch.inference_mode()
    def figures(self, rounds: int) -> dict[str, Any]:
        state, early = self._written(self.mechanism.empty(1), WRITES * self.segment)
        few, _ = self._written(self.mechanism.empty(1), min(FEW, self.told))
        state, late = self._written(state, self.told - WRITES * self.segment)
        asked = [self._asked(few, state) for _ in range(rounds + 2)][2:]
        short, long = (statistics.median(times) for times in zip(*asked, strict=True))
        return {
            "segment_tokens": self.segment,
            "few_tokens": min(FEW, self.told),
            "told_tokens": self.told,
            "write_ratio": early,
            "late_write_ratio": late,
            "ask_ms": 1000 * long,
            "ask_ratio": long / short,
            "state_bytes": state.nbytes,
        }

    def _written(self, state: Any, tokens: int) -> tuple[Any, float]:
        """The state after so many tokens more, and a write beside a plain forward."""
        plain: list[float] = []
        ours: list[float] = []
        decoder = self.mechanism.backbone.decoder
        count = max(WRITES, -(-tokens // self.segment))
        for number in range(count):
            ids = self._ids(self.segment)
            if number >= count - WRITES // 2:
                plain.append(self._seconds(partial(decoder, input_ids=ids, use_cache=False))[0])
            seconds, state = self._seconds(partial(self.mechanism.write, state, ids))
            ours.append(seconds)
        return state, statistics.median(ours[-len(plain) :]) / statistics.median(plain)

    def _asked(self, few: Any, many: Any) -> tuple[float, float]:
        """Seconds from a question to its first token behind each of two states."""
        ids = self._ids(self.shape.prompt_tokens)
        short, _ = self._seconds(lambda: self.mechanism.begin(few, ids))
        long, _ = self._seconds(lambda: self.mechanism.begin(many, ids))
        return short, long
