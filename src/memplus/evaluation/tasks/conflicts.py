"""Conflicts: numbered facts that revise one another, and questions about what holds in the end.

After MemoryAgentBench's consolidation of facts (2507.05257), made by rule (``data.conflicts``). All
facts of one length are one text, read once; all questions are asked when it has been read.

An answer is right if, cut as the system cuts its answers, it is the value and nothing else, but for
case, spaces, quotes and a full stop. Whether the value stands in it, as the paper counts, is said
beside it; so is how often the value before the last revision is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, Self

from memplus.data.conflicts import PREAMBLE, ConflictQuestion, make_conflicts
from memplus.data.stream import Told
from memplus.errors import ConfigError
from memplus.evaluation.engine.figures import Figure, pooled, shares
from memplus.evaluation.engine.judging import Judge, contains
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.evaluation.tasks.sizes import require_each, require_least

__all__ = ["ConflictsTask"]

_SOURCE = "facts"


@dataclass(frozen=True)
class ConflictsTask(BenchTask):
    """Numbered facts of which the newest holds."""

    name: ClassVar[str] = "conflicts"
    title: ClassVar[str] = "Facts that revise one another"
    axis: ClassVar[str] = "tokens of facts"
    judge: ClassVar[Judge] = Judge("exact", max_new_tokens=24)

    lengths: tuple[int, ...] = (6_000, 32_000, 64_000, 256_000)
    """Tokens of facts, one list for each."""
    items: int = 100
    """Questions of one hop, and as many of two, fewer where a list is too short for that."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked, or something twice.
        """
        require_least("items", self.items)
        require_each("lengths", self.lengths, 1)

    @classmethod
    def small(cls) -> Self:
        """Two short lists, 20 questions of each kind about each."""
        return cls(lengths=(2_000, 6_000), items=20)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """See ``BenchTask.plans``; one for each length."""
        return [self._plan(length, inputs) for length in self.lengths]

    def _plan(self, length: int, inputs: Inputs) -> Plan:
        made = make_conflicts(length, self.items, self.seed, inputs.reference)
        pieces = (PREAMBLE, *made.lines)
        ends = list(accumulate(len(found) for found in inputs.reference(list(pieces))))
        if ends[-1] > length:
            reason = f"the shortest list has {ends[-1]} tokens"
            raise ConfigError("lengths", value=length, reason=reason)
        once = [_question(index, one, length) for index, one in enumerate(made.questions)]
        asked = [
            _placed(question, one.stated_by, ends)
            for question, one in zip(once, made.questions, strict=True)
        ]
        step = Step(pieces, ends[-1], _SOURCE, tuple(asked))
        return Plan(f"{length} tokens", self.seed, (step,), tuple(once))

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """Exact, contained, and the value of before."""
        lines = [{**line, "contained": _contained(line)} for line in lines]
        return [
            *shares(lines, "exact"),
            *shares(lines, "contained", "contained"),
            *shares(lines, "outdated", "outdated"),
        ]

    def headline(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """The newest value stands in the answer."""
        told = [{**line, "contained": _contained(line)} for line in lines]
        return shares(pooled(told), "contained", "contained")


def _question(index: int, one: ConflictQuestion, length: int) -> Question:
    key = f"{one.kind}/{index}"
    return Question(key, one.kind, one.text, (one.answer,), length, outdated=one.outdated)


def _placed(question: Question, fact: int, ends: Sequence[int]) -> Question:
    """The question with the place of the fact that states its answer, after the preamble."""
    start, end = ends[fact], ends[fact + 1]
    told = Told(_SOURCE, start, end)
    return replace(question, told=told, distance=ends[-1] - end)


def _contained(line: Mapping[str, Any]) -> bool:
    return any(contains(line["said"], answer) for answer in line["answers"])
