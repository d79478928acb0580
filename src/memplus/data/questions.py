"""Questions of published sets, one by one, and which of them the papers ask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from memplus.data.documents import read_bytes
from memplus.data.passages import Split, parse_passages
from memplus.errors import ConfigError, QuestionSetError

__all__ = ["Asked", "QuestionSet", "read_questions"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, its answers, and the passage that holds them."""

    question: str
    answers: tuple[str, ...]
    passage: str
    topic: str
    """Passages of other topics are unrelated to it."""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a file, and the papers' limit to their answers."""

    questions: list[Asked]
    longest_answer: int
    """In tokens."""
    sha256: str
    """Of the file."""

    def short(self, count: Callable[[str], int]) -> QuestionSet:
        """Those with an answer short enough; of their answers, the short ones.

        Args:
            count: tokens of a text.

        Raises:
            ConfigError: there are none.
        """
        kept = []
        for one in self.questions:
            answers = [a for a in one.answers if count(f" {a}") <= self.longest_answer]
            if answers:
                kept.append(replace(one, answers=tuple(answers)))
        if not kept:
            reason = "no question has an answer of so few tokens"
            raise ConfigError("longest_answer", value=self.longest_answer, reason=reason)
        return replace(self, questions=kept)


def read_questions(
    path: Path, longest_answer: int | None = None, split: Split = "all"
) -> QuestionSet:
    """Questions of a SQuAD, Natural Questions or FairytaleQA file; also gzipped.

    Args:
        path: the file, as ``passages`` describes it.
        longest_answer: tokens of an answer; None: 3 for SQuAD, 4 for sets of JSON lines.
        split: all of them, what training may read, or what is held out.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is none of them.
    """
    data = read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise QuestionSetError(path) from error
    found = [
        Asked(one.question, one.answers, passage.text, passage.topic)
        for passage in parse_passages(path, text, split)
        for one in passage.questions
    ]
    return QuestionSet(found, longest_answer or _longest_answer(path), sha256)


def _longest_answer(path: Path) -> int:
    return 4 if ".jsonl" in path.suffixes else 3
