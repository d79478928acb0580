"""RULER: needles, chains of variables and frequent words in long texts (2404.06654).

Made by rule out of the prose that is given (``data.ruler``), a text of its own for each question.
As published, an answer's score is the share of what is wanted that stands somewhere in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, Self

from memplus.data.ruler import KINDS, Ruler, RulerItem
from memplus.data.stream import Told
from memplus.errors import ConfigError
from memplus.evaluation.engine.figures import Figure, means, pooled, shares
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.evaluation.tasks.sizes import require_each, require_least

__all__ = ["RulerTask"]

_SOURCE = "text"


@dataclass(frozen=True)
class RulerTask(BenchTask):
    """Needles, variables and frequent words."""

    name: ClassVar[str] = "ruler"
    title: ClassVar[str] = "RULER"
    axis: ClassVar[str] = "tokens of text"
    judge: ClassVar[Judge] = Judge("all", max_new_tokens=128)

    lengths: tuple[int, ...] = (4_096, 8_192, 16_384, 32_768, 65_536, 131_072)
    """Tokens of a text."""
    items: int = 10
    """Texts of each kind and length."""
    kinds: tuple[str, ...] = KINDS
    """Of ``data.ruler.KINDS``."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked, or something twice, or a kind that there is not.
        """
        require_least("items", self.items)
        require_each("lengths", self.lengths, 1)
        require_each("kinds", self.kinds)
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError("kinds", value=kind, reason=f"there are {', '.join(KINDS)}")

    @classmethod
    def small(cls) -> Self:
        """Short texts of the seven kinds that differ most, two of each."""
        kinds = ("single", "multi_key", "multi_value", "multi_query", *KINDS[-3:])
        return cls(lengths=(1_024,), items=2, kinds=kinds)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """See ``BenchTask.plans``; one for each text."""
        ruler = Ruler(inputs.texts(max(self.lengths)))
        return [
            self._plan(ruler, kind, length, index)
            for length in self.lengths
            for kind in self.kinds
            for index in range(self.items)
        ]

    def _plan(self, ruler: Ruler, kind: str, length: int, index: int) -> Plan:
        name = f"{kind}, {length} tokens, {index}"
        item = ruler.make(kind, length, f"{self.seed} {name}")
        once = Question(f"{kind}/{index}", kind, item.question, item.answers, length)
        asked = _placed(once, item)
        tokens = sum(map(len, item.pieces))
        step = Step(tuple(piece.text for piece in item.pieces), tokens, _SOURCE, (asked,))
        return Plan(name, self.seed, (step,), (once,))

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """The published score, and the share of answers with all that is wanted."""
        lines = list(lines)
        score = means(lines, "score", lambda line: float(line["credit"]))
        return [*score, *shares(lines, "all named")]

    def headline(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """The published score, over all kinds."""
        return means(pooled(lines), "score", lambda line: float(line["credit"]))


def _placed(question: Question, item: RulerItem) -> Question:
    """The question with the places of the pieces that answer it, where some do."""
    if not item.stated_by:
        return question
    ends = [0, *accumulate(len(piece) for piece in item.pieces)]
    places = tuple(Told(_SOURCE, ends[at], ends[at + 1]) for at in item.stated_by)
    last = places[-1]
    return replace(question, evidence=places, told=last, distance=ends[-1] - last.end)
