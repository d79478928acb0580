"""LoCoMo's conversations and their questions (2402.17753), read from the file that a person has.

Ten conversations of two people over months, a session a day, with questions of five categories.
The file is for non-commercial use and is no part of this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from memplus.data.json_lines import a_list, a_text, an_answer, read_json
from memplus.errors import BenchmarkFileError

__all__ = [
    "CATEGORIES",
    "Conversation",
    "ConversationQuestion",
    "ConversationSession",
    "Turn",
    "read_known_errors",
    "read_locomo",
]

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
"""Number in the file -> what is asked for; nothing answers a question of category 5."""

_BENCHMARK = "LoCoMo"
_WRONG_CITATION = "WRONG_CITATION"
"""The answer is right, only the turns named for it are not."""
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one of the two says at once."""

    id: str
    """"D3:7": the seventh turn of the third session."""
    speaker: str
    text: str
    picture: str = ""
    """What a picture shown with it shows; empty where there is none."""


@dataclass(frozen=True, slots=True)
class ConversationSession:
    """One sitting."""

    number: int
    date: str
    """As the file has it: "1:56 pm on 8 May, 2023"."""
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class ConversationQuestion:
    """A question about a conversation."""

    index: int
    """Its place in the file, from 0."""
    text: str
    answer: str
    """Empty where nothing in the conversation answers it."""
    category: int
    evidence: tuple[str, ...]
    """The turns that answer it, as far as they exist."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that two people said, and what is asked about it."""

    id: str
    speakers: tuple[str, str]
    sessions: tuple[ConversationSession, ...]
    questions: tuple[ConversationQuestion, ...]


def read_locomo(path: Path) -> list[Conversation]:
    """The conversations of LoCoMo's file, in its order.

    Args:
        path: ``locomo10.json``, also gzipped.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        BenchmarkFileError: it is something else.
    """
    return _parsed(path, _conversations)


def read_known_errors(path: Path) -> frozenset[tuple[int, int]]:
    """Which questions have a wrong answer in the key, by a list that others made of them.

    Args:
        path: a JSON list of records with ``question_id`` ("locomo_0_qa12": conversation and
            question, from 0) and ``error_type``, also gzipped. Where only the turns named are
            wrong, the answer is not.

    Returns:
        Places of the conversation and the question in LoCoMo's file.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        BenchmarkFileError: it is something else.
    """
    return _parsed(
        path,
        lambda found: frozenset(
            _place(one["question_id"])
            for one in a_list(found)
            if one["error_type"] != _WRONG_CITATION
        ),
    )


def _parsed(path: Path, parse: Callable[[Any], _Found]) -> _Found:
    try:
        return parse(read_json(path))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BenchmarkFileError(path, benchmark=_BENCHMARK, reason=repr(error)) from error


def _place(question_id: str) -> tuple[int, int]:
    found = re.fullmatch(r"locomo_(\d+)_qa(\d+)", question_id)
    if found is None:
        raise ValueError(f"no place of a question: {question_id}")
    return int(found[1]), int(found[2])


def _conversations(found: Any) -> list[Conversation]:
    conversations = [_conversation(one) for one in a_list(found)]
    if not conversations:
        raise ValueError("it holds no conversation")
    return conversations


def _conversation(found: dict[str, Any]) -> Conversation:
    talk = found["conversation"]
    numbers = sorted(
        int(key.removeprefix("session_")) for key in talk if re.fullmatch(r"session_\d+", key)
    )
    sessions = tuple(
        ConversationSession(
            number,
            a_text(talk[f"session_{number}_date_time"]),
            tuple(map(_turn, a_list(talk[f"session_{number}"]))),
        )
        for number in numbers
        if talk[f"session_{number}"]
    )
    name = a_text(found["sample_id"])
    if not sessions:
        raise ValueError(f"nothing is said in {name}")
    known = {turn.id for session in sessions for turn in session.turns}
    questions = [_question(*one, known) for one in enumerate(a_list(found["qa"]))]
    speakers = (a_text(talk["speaker_a"]), a_text(talk["speaker_b"]))
    return Conversation(name, speakers, sessions, tuple(questions))


def _turn(found: dict[str, Any]) -> Turn:
    name, speaker, text = (a_text(found[one]) for one in ("dia_id", "speaker", "text"))
    return Turn(name, speaker, text, a_text(found.get("blip_caption") or ""))


def _question(index: int, found: dict[str, Any], known: Collection[str]) -> ConversationQuestion:
    category = int(found["category"])
    if category not in CATEGORIES:
        raise ValueError(f"no category {category}")
    answer = "" if category == 5 else an_answer(found["answer"])
    # A few places in the file are written "D8:6; D9:17", "D:11:26" or lead nowhere.
    places = re.findall(r"D:?(\d+):(\d+)", " ".join(a_list(found["evidence"])))
    cited = dict.fromkeys(f"D{session}:{turn}" for session, turn in places)
    evidence = tuple(one for one in cited if one in known)
    return ConversationQuestion(index, a_text(found["question"]), answer, category, evidence)
