"""What the sessions of one MemLLM share: options, two adapters, vectors and look-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

from torch import Tensor

from memplus.config import require
from memplus.errors import ModelError, SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER, RECORD, base_digest, load_adapter
from memplus.mplus.core import Core
from memplus.systems.memllm.calls import Generator, Writing
from memplus.systems.memllm.grammar import Query
from memplus.systems.memllm.late_stopping import Divisor
from memplus.systems.memllm.retrieval import SETTINGS, Thresholds, ends_found
from memplus.systems.memllm.rules import extracted
from memplus.systems.shared import Shared
from memplus.systems.triples.rows import Row, Update
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.vectors import PhraseVectors

__all__ = [
    "MAKES",
    "NAME",
    "READ_FOLDER",
    "SHIPPED",
    "WRITE_FOLDER",
    "MemLLMOptions",
    "Tools",
    "missing_file",
]

NAME = "memllm"
WRITE_FOLDER, READ_FOLDER = "write", "read"
"""Of the two adapters, in the folder of the weights."""
VECTOR_LAYERS = 6
"""Layers that a vector comes out of; ``benchmarks/memllm.py thresholds`` compares them."""
SHIPPED = Path(__file__).parents[2] / "assets" / "systems" / NAME
"""Where the adapters lie that come with memplus."""
MAKES = (
    "memplus train --config configs/memllm/write.yaml` and then "
    "`memplus train --config configs/memllm/read.yaml"
)
"""What makes the adapters."""


@dataclass(frozen=True)
class MemLLMOptions:
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
    setting: Literal["own", "language", "editing", "training"] = "own"
    """Which distances count as near; all but ``own`` are published, for other vectors."""
    update: Update = "replace"
    """``replace``: a new object of the same subject and relation takes the older away; ``add``, as
    published, keeps both."""
    context_sentences: int = 25
    """Sentences before the one that is written, at most."""
    context_tokens: int = 96
    """Tokens of a write prompt, at most, unless its sentence alone is longer; published: 512."""

    def __post_init__(self) -> None:
        for name, least in (("patience", 1), ("context_sentences", 0), ("context_tokens", 1)):
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


def missing_file(folder: Path, parts: Sequence[str] = (WRITE_FOLDER, READ_FOLDER)) -> str:
    """The first file of the adapters that a folder lacks, by its path; empty: none."""
    files = (folder / part / name for part in parts for name in (RECORD, ADAPTER))
    return next((str(one) for one in files if not one.is_file()), "")


class Tools:
    """What is loaded once.

    Args:
        shared: the model.
        options: of the system.

    Raises:
        SystemWeightsError: an adapter is not there.
    """

    def __init__(self, shared: Shared, options: MemLLMOptions) -> None:
        self.shared = shared
        self.options = options
        self.folder = Path(options.weights) if options.weights else SHIPPED
        absent = missing_file(self.folder, self._parts)
        if absent:
            raise SystemWeightsError(NAME, reason=f"{absent} is not there", command=MAKES)

    @property
    def _parts(self) -> tuple[str, ...]:
        """The adapters that are needed."""
        rules = self.options.extraction == "rules"
        return (READ_FOLDER,) if rules else (WRITE_FOLDER, READ_FOLDER)

    @property
    def core(self) -> Core:
        """The model."""
        return self.shared.mplus.core

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the adapters' bytes."""
        files = [self.folder / part / ADAPTER for part in self._parts]
        return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    def _generator(self, part: str) -> Generator:
        model, digest = self.shared.mplus, None
        try:
            if model.origin is not None:
                digest = base_digest(model.origin, self.core.backbone)
            lora = load_adapter(self.folder / part, self.core.backbone, digest)
        except ModelError as error:
            reason = str(error).rstrip(".")
            raise SystemWeightsError(NAME, reason=reason, command=MAKES) from error
        return Generator(self.core, lora)

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
        """Load what would be loaded at first use.

        Raises:
            SystemWeightsError: see ``writer`` and ``reader``.
        """
        for part in self._parts:
            assert self.writer if part == WRITE_FOLDER else self.reader

    def write(self, before: str, sentence: str) -> Writing:
        """The triples of a sentence.

        Args:
            before: the text before it, as much as is to be seen.
            sentence: the sentence.
        """
        options = self.options
        if options.extraction == "rules":
            return Writing(tuple(extracted(sentence)), "", parses=True)
        return self.writer.write(before, sentence, options.divisor, options.patience)

    @cached_property
    def _vectors(self) -> PhraseVectors:
        layers = min(VECTOR_LAYERS, len(self.core.backbone.layers))
        return PhraseVectors(self.core, layers)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, [texts, d]."""
        return self._vectors(texts)

    def look_up(self, table: TripleTable, queries: Sequence[Query]) -> Mapping[str, Row]:
        """The ends that queries find in a table."""
        options = self.options
        exact = options.exact_first == "on"
        return ends_found(table, queries, options.thresholds, exact_first=exact)
