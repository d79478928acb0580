"""Question sets with their passages, as they are published: SQuAD and Natural Questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memplus.data.documents import read_bytes
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


def read_questions(path: Path, longest_answer: int | None = None) -> QuestionSet:
    """Questions of a SQuAD file (JSON) or a Natural Questions file (JSON lines); also gzipped.

    Args:
        path: the file.
        longest_answer: tokens of an answer; None: 3 for SQuAD, 4 for Natural Questions.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is neither.
    """
    data = read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode("utf-8")
        if ".jsonl" not in path.suffixes:
            return QuestionSet(list(_squad(json.loads(text))), longest_answer or 3, sha256)
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return QuestionSet([_natural(line) for line in lines], longest_answer or 4, sha256)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise QuestionSetError(path) from error


def _squad(data: Any) -> Iterator[Asked]:
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(str(one["text"]) for one in asked["answers"]))
                if answers and not asked.get("is_impossible"):
                    yield Asked(asked["question"], answers, paragraph["context"], article["title"])


def _natural(line: Any) -> Asked:
    passage = line["ctxs"][0]
    answers = tuple(str(one) for one in line["answers"])
    return Asked(line["question"], answers, passage["text"], passage["title"])
