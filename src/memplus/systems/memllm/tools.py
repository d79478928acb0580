"""What the sessions of one MemLLM share: options, two adapters, vectors and look-up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from memplus.config import require
from memplus.systems.memllm.calls import Generator, Writing
from memplus.systems.memllm.grammar import Query
from memplus.systems.memllm.late_stopping import Divisor
from memplus.systems.memllm.reading import MOST_RESULTS
from memplus.systems.memllm.retrieval import SETTINGS, Thresholds, ends_found
from memplus.systems.memllm.rules import extracted
from memplus.systems.triples.rows import Row, Update
from memplus.systems.triples.side_by_side import Outcome
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.tools import TripleOptions, TripleTools

__all__ = ["NAME", "READ_FOLDER", "TEXT_TOKENS", "WRITE_FOLDER", "MemLLMOptions", "Tools"]

NAME = "memllm"
WRITE_FOLDER, READ_FOLDER = "write", "read"
"""Of the two adapters, in the folder of the weights."""
TEXT_TOKENS = 64
"""Most tokens of text of an answer (section 4.3)."""


@dataclass(frozen=True)
class MemLLMOptions(TripleOptions):
    """How triples are written, kept and found."""

    weights: str = ""
    """Folder with the adapters in ``write`` and ``read``, instead of those that memplus ships."""
    memory: Literal["on", "off"] = "on"
    """``off``: the read adapter generates and may not call."""
    extraction: Literal["model", "rules"] = "model"
    """``rules``: a hand-written pattern writes the triples, no trained call."""
    late_stopping: Literal["generated", "whole", "off"] = "generated"
    """What marks are divided by, ``whole`` as published; ``off``: a call ends where it ends."""
    patience: int = 5
    """Marks that late stopping makes at least."""
    exact_first: Literal["on", "off"] = "on"
    """``on``: where something equals a query, nothing else is found."""
    setting: Literal["own", "measured", "language", "editing", "training"] = "own"
    """Which distances count as near. ``measured`` is chosen for this package's vectors; the last
    three are published, for others, and so is what ``own`` has."""
    most_results: int = MOST_RESULTS
    """A call that finds more is taken away as one that finds nothing; Q_thr of the paper."""
    update: Update = "replace"
    """``replace``: a new object of the same subject and relation takes the older away; ``add``, as
    published, keeps both."""
    context_sentences: int = 25
    """Sentences before the one that is written, at most."""
    context_tokens: int = 96
    """Tokens of a write prompt, at most, unless its sentence alone is longer; published: 512."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            ("patience", 1), ("most_results", 1), ("context_sentences", 0), ("context_tokens", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= least, name, value, f"at least {least}")

    @property
    def divisor(self) -> Divisor | None:
        """Of late stopping."""
        return None if self.late_stopping == "off" else self.late_stopping

    @property
    def thresholds(self) -> Thresholds:
        """Distances below which texts count as alike."""
        return SETTINGS[self.setting]


class Tools(TripleTools[MemLLMOptions]):
    """See ``TripleTools``: two adapters."""

    system = NAME
    makes = (
        "memplus train --config configs/memllm/write.yaml",
        # What the write adapter makes of documents is what the read adapter learns from.
        "python benchmarks/memllm.py fill --count 30 --weights runs/memllm --data data "
        "--out runs/memllm/filled.jsonl",
        "memplus train --config configs/memllm/read.yaml",
    )
    vector_layers = 6  # ``benchmarks/memllm.py thresholds`` compares them
    answer_tokens = TEXT_TOKENS

    @classmethod
    def parts(cls, options: MemLLMOptions) -> tuple[str, ...]:
        """See ``TripleTools.parts``: what a pattern writes needs no adapter."""
        rules = options.extraction == "rules"
        return (READ_FOLDER,) if rules else (WRITE_FOLDER, READ_FOLDER)

    def _generator(self, part: str) -> Generator:
        return Generator(self.core, self.adapters.load(self.shared.mplus, part))

    @cached_property
    def writer(self) -> Generator:
        """Under the write adapter.

        Raises:
            SystemWeightsError: it was trained on another model, or is damaged.
        """
        return self._generator(WRITE_FOLDER)

    @cached_property
    def reader(self) -> Generator:
        """Under the read adapter.

        Raises:
            SystemWeightsError: it was trained on another model, or is damaged.
        """
        return self._generator(READ_FOLDER)

    def load(self) -> None:
        """See ``TripleTools.load``."""
        for part in self.adapters.parts:
            assert self.writer if part == WRITE_FOLDER else self.reader

    def write(self, told: Iterable[tuple[str, str]]) -> Iterator[Outcome[Writing]]:
        """The triples of sentences, in order.

        Args:
            told: the text before each, as much as is to be seen, and the sentence.
        """
        options = self.options
        if options.extraction == "rules":
            found = (tuple(extracted(sentence)) for _, sentence in told)
            return (Outcome((Writing(one, "", parses=True),)) for one in found)
        return self.writer.write(told, options.divisor, options.patience)

    def look_up(self, table: TripleTable, queries: Sequence[Query]) -> Mapping[str, Row]:
        """The ends that queries find in a table."""
        options = self.options
        exact = options.exact_first == "on"
        return ends_found(table, queries, options.thresholds, exact_first=exact)
