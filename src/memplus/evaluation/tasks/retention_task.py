"""What is told once in running text, asked for after growing distances, of any system.

One stream per seed tells SQuAD and Natural Questions passages that no training of ours saw, the
bundled held-out statements, corrections of some of them, and notes about made-up people; all of it
is asked at every distance, beside items that were never told (``told.told_plan``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from memplus.data.notes import MOST_SUBJECTS, make_notes
from memplus.data.passages import PassageQuestions, Split, read_nq, read_squad
from memplus.evaluation.engine.figures import Figure, best_f1, means, pooled, shares
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs, Need
from memplus.evaluation.tasks.held_out import CORRECTION, HeldOut, passage_items, statement_items
from memplus.evaluation.tasks.retention import NOTE
from memplus.evaluation.tasks.sizes import require_each, require_least, require_most
from memplus.evaluation.tasks.told import NEVER_TOLD, Item, told_plan

__all__ = ["RetentionTask"]

SQUAD = Need("squad/dev-v2.0.json.gz", "CC BY-SA 4.0", "SQuAD 2.0, its dev set")
NQ = Need(
    "nq/lost-in-the-middle.nq-open-oracle.jsonl.gz",
    "CC BY-SA 3.0",
    "Natural Questions with gold passages",
)

_MADE = 8
"""Notes made for each that is told, of which some are kept for thresholds and some never told."""

Kind = Literal["squad", "nq", "statements", "notes"]


@dataclass(frozen=True)
class RetentionTask(BenchTask):
    """The papers' experiment, and more kinds of text, in one stream."""

    name: ClassVar[str] = "retention"
    title: ClassVar[str] = "kept over distance"
    axis: ClassVar[str] = "tokens written since it was told"
    judge: ClassVar[Judge] = Judge("contains", judges_answer=True)
    needs: ClassVar[tuple[Need, ...]] = (SQUAD, NQ)

    lengths: tuple[int, ...] = (0, 1000, 16_000, 160_000)
    """Tokens written between what is told and its question."""
    items: int = 40
    """Of each kind told per seed; half as many are asked for and never told."""
    seeds: int = 1
    kinds: tuple[Kind, ...] = get_args(Kind)
    split: Split = "held_out"
    """Of SQuAD and Natural Questions."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is asked, or something twice, or more notes than
                there are names for.
        """
        require_least("items", self.items)
        require_least("seeds", self.seeds)
        require_each("lengths", self.lengths, 0)
        require_each("kinds", self.kinds)
        if "notes" in self.kinds:
            require_most("items", self.items, MOST_SUBJECTS // _MADE)

    @classmethod
    def small(cls) -> Self:
        """Eight items of each kind, at once and 4000 tokens later."""
        return cls(lengths=(0, 4000), items=8)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """A stream per seed.

        Raises:
            MissingDataError: a question set is not there.
        """
        lengths = tuple(sorted(self.lengths))
        pool = self._pool(inputs, lengths)
        texts = inputs.texts(lengths[-1] + 20_000)
        return [
            told_plan(texts, inputs.chunk, pool.deal(self.items, seed), seed)
            for seed in range(self.seeds)
        ]

    def _pool(self, inputs: Inputs, lengths: tuple[int, ...]) -> HeldOut:
        items: list[Item] = []
        others: list[PassageQuestions] = []
        for kind, title, need, read in (
            ("squad", "SQuAD", SQUAD, read_squad),
            ("nq", "NQ", NQ, read_nq),
        ):
            if kind in self.kinds:
                path = inputs.path(need)
                items += passage_items(title, read(path, self.split), lengths)
                others += read(path, "all")
        if "statements" in self.kinds:
            items += statement_items(lengths, lengths)
        if "notes" in self.kinds:
            notes = make_notes(0, _MADE * self.items, "held_out")
            items += [
                Item(NOTE, one.statement, ((one.question, (one.answer,)),), lengths, one.attribute)
                for one in notes
            ]
        return HeldOut(tuple(items), tuple(others))

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """Shares of right answers, words in common, and how often an older value was said."""
        found = list(lines)
        told = [line for line in found if line["kind"] != NEVER_TOLD]
        corrected = [line for line in told if line["kind"] == CORRECTION]
        never = [line for line in found if line["kind"] == NEVER_TOLD]
        return [
            *shares(told),
            *means(told, "F1", best_f1),
            *shares(corrected, "older value", "outdated"),
            *shares(never, "declined", "declined"),
        ]

    def headline(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """Right answers to what was told."""
        return shares(pooled(line for line in lines if line["kind"] != NEVER_TOLD))
