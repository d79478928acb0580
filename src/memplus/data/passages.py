"""Passages with their questions, as they are published: SQuAD, Natural Questions, FairytaleQA.

This module is the one place that says which of them are held out; training, evaluation and the
choice of a threshold ask it. The rules were fixed before any training and need no list:

- SQuAD: every article whose title's SHA-256, in hexadecimal, begins with 0, 1, 2 or 3;
- Natural Questions: every fifth row, the first among them. The rows between them whose passage is
  also that of a held-out row are neither: training on them would be training on held-out text;
- FairytaleQA: its own validation and test files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

from memplus.data.documents import read_bytes
from memplus.data.json_lines import a_list
from memplus.errors import ConfigError, NotFoundError, QuestionSetError

__all__ = [
    "PassageQuestion",
    "PassageQuestions",
    "Split",
    "article_is_held_out",
    "parse_passages",
    "read_fairytale",
    "read_nq",
    "read_passages",
    "read_squad",
]

Split = Literal["all", "train", "held_out"]
"""Which part of a set: all that its file holds, what training may read, or what it may not."""

_HELD_OUT_DIGITS = "0123"
_HELD_OUT_EVERY = 5
_FAIRYTALE_TRAIN = "train"
_ANSWERS = tuple(f"answer{number}" for number in range(1, 7))


@dataclass(frozen=True, slots=True)
class PassageQuestion:
    """A question about a passage."""

    question: str
    answers: tuple[str, ...]
    """Any of them is right. Those of SQuAD and Natural Questions stand in the passage."""


@dataclass(frozen=True, slots=True)
class PassageQuestions:
    """A passage and the questions that it answers."""

    text: str
    topic: str
    """Its article or story; passages of other topics are unrelated to it."""
    questions: tuple[PassageQuestion, ...]
    """At least one."""


_Row = tuple[bool, PassageQuestions]
"""Whether a passage is held out, and the passage."""


def read_squad(path: Path, split: Split = "all") -> list[PassageQuestions]:
    """The paragraphs of a SQuAD file, each with those of its questions that have an answer.

    Args:
        path: JSON as published, 1.1 or 2.0; also gzipped.
        split: which articles.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is something else.
        ConfigError: there is no such split.
    """
    return _read(path, split, lambda text: _squad(json.loads(text)))


def read_nq(path: Path, split: Split = "all") -> list[PassageQuestions]:
    """The rows of a Natural Questions file, each with its gold passage as "title. text".

    Args:
        path: JSON lines with ``question``, ``answers`` and the gold passage first in ``ctxs``; also
            gzipped.
        split: which rows.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is something else.
        ConfigError: there is no such split.
    """
    return _read(path, split, lambda text: _natural(_lines(text)))


def read_fairytale(path: Path, split: Split = "all") -> list[PassageQuestions]:
    """The sections of FairytaleQA's stories, each with the questions that it answers.

    A question about several sections has them together as its passage. Lines of a paragraph are
    put together. Many answers are in an annotator's own words and stand nowhere in the passage.

    Args:
        path: one file of JSON lines, a story each, also gzipped, or the folder of such files. A
            file whose name begins with "train" is for training, any other is held out.
        split: which files.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is something else.
        ConfigError: there is no such split.
    """
    files = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
    if not files:
        raise NotFoundError(path)
    found = []
    for file in files:
        held_out = _is_held_out(file)
        found += _read(file, split, partial(_stories_of, held_out=held_out))
    return found


def read_passages(path: Path, split: Split = "all") -> list[PassageQuestions]:
    """The passages of a file of any of these sets; which one is seen as ``parse_passages`` does.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is none of the three.
        ConfigError: there is no such split.
    """
    return _read(path, split, lambda text: _sniffed(path, text))


def parse_passages(path: Path, text: str, split: Split = "all") -> list[PassageQuestions]:
    """The same from a file's text, by its name and its first line: JSON is SQuAD; JSON lines are
    FairytaleQA where they hold stories, and Natural Questions otherwise.

    Raises:
        QuestionSetError: it is none of the three.
        ConfigError: there is no such split.
    """
    return _parsed(path, split, text, lambda given: _sniffed(path, given))


def _read(
    path: Path, split: Split, parse: Callable[[str], Iterable[_Row]]
) -> list[PassageQuestions]:
    data = read_bytes(path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise QuestionSetError(path) from error
    return _parsed(path, split, text, parse)


def _parsed(
    path: Path, split: Split, text: str, parse: Callable[[str], Iterable[_Row]]
) -> list[PassageQuestions]:
    if split not in get_args(Split):
        reason = f"it is one of {', '.join(get_args(Split))}"
        raise ConfigError("split", value=split, reason=reason)
    try:
        rows = list(parse(text))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise QuestionSetError(path) from error
    if split == "all":
        return [passage for _, passage in rows]
    if split == "held_out":
        return [passage for held, passage in rows if held]
    hidden = {passage.text for held, passage in rows if held}
    return [passage for held, passage in rows if not held and passage.text not in hidden]


def _sniffed(path: Path, text: str) -> Iterable[_Row]:
    if ".jsonl" not in path.suffixes:
        return _squad(json.loads(text))
    lines = _lines(text)
    if lines and "sections" in lines[0]:
        return _stories(lines, held_out=_is_held_out(path))
    return _natural(lines)


def _is_held_out(file: Path) -> bool:
    return not file.name.startswith(_FAIRYTALE_TRAIN)


def _stories_of(text: str, *, held_out: bool) -> Iterator[_Row]:
    return _stories(_lines(text), held_out=held_out)


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _squad(data: Any) -> Iterator[_Row]:
    for article in data["data"]:
        title = article["title"]
        held_out = article_is_held_out(title)
        for paragraph in article["paragraphs"]:
            asked = tuple(
                PassageQuestion(one["question"], _distinct(found["text"] for found in given))
                for one in paragraph["qas"]
                if (given := one["answers"]) and not one.get("is_impossible")
            )
            if asked:
                passage = PassageQuestions(paragraph["context"], title, asked)
                yield held_out, passage


def article_is_held_out(title: str) -> bool:
    """Whether a SQuAD article is one of those that nothing may be trained on or chosen by."""
    return hashlib.sha256(title.encode()).hexdigest()[0] in _HELD_OUT_DIGITS


def _natural(lines: Iterable[Any]) -> Iterator[_Row]:
    for index, line in enumerate(lines):
        gold = line["ctxs"][0]
        title, text = str(gold["title"]), str(gold["text"])
        asked = PassageQuestion(line["question"], _distinct(a_list(line["answers"])))
        passage = PassageQuestions(f"{title}. {text}", title, (asked,))
        yield index % _HELD_OUT_EVERY == 0, passage


def _stories(lines: Iterable[Any], *, held_out: bool) -> Iterator[_Row]:
    for story in lines:
        sections: dict[str, list[str]] = {}
        for number, text in story["sections"]:
            sections.setdefault(number, []).append(_unwrapped(text))
        asked: dict[tuple[str, ...], list[PassageQuestion]] = {}
        for one in story["questions"]:
            numbers = tuple(number.strip() for number in one["cor_section"].split(","))
            answers = _distinct(text for name in _ANSWERS if (text := one[name].strip()))
            asked.setdefault(numbers, []).append(PassageQuestion(one["question"], answers))
        for numbers, questions in asked.items():
            text = "\n\n".join(part for number in numbers for part in sections[number])
            yield held_out, PassageQuestions(text, story["story"], tuple(questions))


def _distinct(answers: Iterable[Any]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(cast(str, answer) for answer in answers))
    if not found or not all(isinstance(answer, str) and answer for answer in found):
        raise ValueError("a question without answers")
    return found


def _unwrapped(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(part for part in paragraphs if part)
