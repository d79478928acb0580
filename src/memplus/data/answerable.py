"""Texts with questions that they answer and questions that they do not: SQuAD 2.0.

A question that a text does not answer is one that was written about it to look as if it did, or one
about another article. Articles are held out as ``data.passages`` says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from memplus.data.documents import read_bytes
from memplus.data.passages import article_is_held_out
from memplus.errors import QuestionSetError

__all__ = ["JudgedText", "TwoKinds", "draw_judged", "read_answerable"]


@dataclass(frozen=True, slots=True)
class TwoKinds:
    """A paragraph and its questions."""

    text: str
    topic: str
    """Its article."""
    answerable: tuple[str, ...]
    """At least one."""
    look_alikes: tuple[str, ...]
    """Questions that were written about it and that it does not answer."""


@dataclass(frozen=True, slots=True)
class JudgedText:
    """A text, questions, and whether it answers each: as many that it does as that it does not."""

    text: str
    questions: tuple[str, ...]
    answered: tuple[bool, ...]


def read_answerable(path: Path, split: Literal["train", "held_out"]) -> list[TwoKinds]:
    """The paragraphs of a SQuAD 2.0 file that answer at least one question.

    Args:
        path: JSON as published, also gzipped.
        split: which articles.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is something else.
    """
    data = read_bytes(path)
    try:
        return list(_paragraphs(json.loads(data.decode("utf-8")), held_out=split == "held_out"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise QuestionSetError(path) from error


def _paragraphs(data: Any, *, held_out: bool) -> list[TwoKinds]:
    found = []
    for article in data["data"]:
        title = str(article["title"])
        if article_is_held_out(title) != held_out:
            continue
        for paragraph in article["paragraphs"]:
            yes = [str(one["question"]) for one in paragraph["qas"] if not one["is_impossible"]]
            no = [str(one["question"]) for one in paragraph["qas"] if one["is_impossible"]]
            if yes:
                found.append(TwoKinds(str(paragraph["context"]), title, tuple(yes), tuple(no)))
    return found


def draw_judged(paragraphs: Sequence[TwoKinds], each: int, seed: int) -> list[JudgedText]:
    """Texts with ``each`` questions that they answer, and as many that they do not, in all.

    Of those that a text does not answer, every second is a look-alike as far as it has some, and
    the others are about other articles.

    Args:
        paragraphs: of two articles at least.
        each: of either kind; fewer where the paragraphs have not so many.
        seed: of their order, and of what is asked of other articles.
    """
    random = Random(seed)
    order = list(paragraphs)
    random.shuffle(order)
    asked = [(one.topic, question) for one in paragraphs for question in one.answerable]
    found, left = [], each
    for one in order:
        yes = random.sample(one.answerable, min(left, len(one.answerable)))
        if not yes:
            break
        likes = min((len(yes) + 1) // 2, len(one.look_alikes))
        no = random.sample(one.look_alikes, likes)
        while len(no) < len(yes):
            topic, question = random.choice(asked)
            if topic != one.topic:
                no.append(question)
        answered = (True,) * len(yes) + (False,) * len(no)
        found.append(JudgedText(one.text, (*yes, *no), answered))
        left -= len(yes)
    return found
