"""What a benchmark is to the runner: plans to run, a judge, and figures of what was answered.

A task is a frozen dataclass whose fields are its options; it knows no system and no model. What it
reads lies in one folder of data, laid out as docs/bench.md says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from memplus.data.stream import Reference, Texts
from memplus.errors import MissingDataError
from memplus.evaluation.engine.figures import Figure, pooled, shares
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan

__all__ = ["BenchTask", "Inputs", "Need"]

_AT_ONCE = 200_000
"""Characters of prose that are tokenised together."""


@dataclass(frozen=True, slots=True)
class Need:
    """A file that a task reads."""

    path: str
    """Below the folder of data."""
    licence: str
    what: str
    """In a few words."""

    def there(self, folder: Path) -> bool:
        """Whether a folder of data has it; where it is a folder itself, whether it holds a file."""
        path = folder / self.path
        return any(True for _ in _below(path)) if path.is_dir() else path.exists()

    def described(self, folder: Path) -> dict[str, Any]:
        """What it is, where it belongs, and whether it is there, as JSON values."""
        path = str(folder / self.path)
        there = self.there(folder)
        return {"path": path, "what": self.what, "licence": self.licence, "there": there}


@dataclass(frozen=True)
class Inputs:
    """What plans are made of."""

    folder: Path
    """Of data."""
    reference: Reference
    """Counts the tokens of all plans."""
    chunk: int
    """Questions had better fall on multiples of so many tokens."""
    read_prose: Callable[[], Sequence[str]]
    """Books or other running text, to tell things in."""
    backbone: Mapping[str, str] = field(default_factory=dict)
    """Dtype -> digest in it, of the model that all systems of a run share."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of every file that was asked for, and of all in a folder but what is hidden: the run's
    identity."""

    def path(self, need: Need) -> Path:
        """Where a file lies.

        Raises:
            MissingDataError: it is not there.
        """
        path = self.folder / need.path
        if not self.has(need):
            raise MissingDataError(path, what=need.what, licence=need.licence)
        files = sorted(_below(path)) if path.is_dir() else [path]
        found = hashlib.sha256()
        for one in files:
            found.update(one.read_bytes())
        self.digests[need.path] = found.hexdigest()
        return path

    def has(self, need: Need) -> bool:
        """Whether it is there."""
        return need.there(self.folder)

    @cached_property
    def prose(self) -> Sequence[str]:
        """Texts to tell things in, each a book or a document."""
        return self.read_prose()

    def texts(self, tokens: int) -> Texts:
        """Prose cut into sentences: whole texts from the first one on, until there is enough.

        Args:
            tokens: how much is enough; where all prose is shorter, all of it.
        """
        taken: list[str] = []
        count = 0
        for text in self.prose:
            taken.append(text)
            parts = [text[at : at + _AT_ONCE] for at in range(0, len(text), _AT_ONCE)]
            count += sum(len(ends) for ends in self.reference(parts))
            if count >= tokens:
                break
        found = Texts.of(taken, self.reference)
        self.digests["prose"] = found.sha256
        return found


def _below(folder: Path) -> Iterator[Path]:
    """The files below a folder, but for hidden ones, which no task reads: a file manager leaves
    its own there."""
    for one in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in one.relative_to(folder).parts)
        if one.is_file() and not hidden:
            yield one


@dataclass(frozen=True)
class BenchTask:
    """A benchmark; every one is a dataclass below this, with its options as fields."""

    name: ClassVar[str]
    """As in the registry."""
    title: ClassVar[str]
    """For tables and pictures."""
    axis: ClassVar[str]
    """What ``Question.wanted`` counts, for tables and pictures."""
    judge: ClassVar[Judge]
    needs: ClassVar[tuple[Need, ...]] = ()
    """Files without which it cannot be run as it is by default."""
    uses: ClassVar[tuple[Need, ...]] = ()
    """Files that it reads where they are there, and does without where they are not."""

    @classmethod
    def small(cls) -> Self:
        """The size that takes less than ten minutes on two cores with a small model."""
        return cls()

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """What is written and asked.

        Raises:
            MissingDataError: a file is not there.
            ConfigError: these options cannot be served.
        """
        raise NotImplementedError

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """What the answers of one system come to; by default shares of right answers.

        Args:
            lines: as recorded, of one system; neither ends of plans nor failures.
        """
        return shares(lines)

    def headline(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """One figure of all that was asked, for a table of many tasks; none of no lines.

        Args:
            lines: as for ``figures``.
        """
        return shares(pooled(lines))
