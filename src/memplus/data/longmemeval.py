"""LongMemEval's files: months of chat with an assistant, and questions about them (2410.10813).

A file is a JSON list of questions, each with its own history of dated sessions. Questions that
share a history are given with it once. The same format can be written, for histories made by rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memplus.data.json_lines import a_list, a_text, an_answer, read_json
from memplus.errors import BenchmarkFileError

__all__ = [
    "ABSTENTION",
    "TYPES",
    "ChatQuestion",
    "ChatSession",
    "ChatTurn",
    "History",
    "read_longmemeval",
    "records_of",
]

TYPES = (
    "single-session-user",
    "single-session-assistant",
    "single-session-preference",
    "multi-session",
    "temporal-reasoning",
    "knowledge-update",
)
ABSTENTION = "_abs"
"""Ends the id of a question that nothing in its history answers."""
_ROLES = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """What one side says at once."""

    role: str
    """"user" or "assistant"."""
    text: str


@dataclass(frozen=True, slots=True)
class ChatSession:
    """One chat."""

    id: str
    date: str
    """As in the files: "2023/05/20 (Sat) 02:21"; in the order of the alphabet is in order."""
    turns: tuple[ChatTurn, ...]


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question about a history."""

    id: str
    type: str
    """Of ``TYPES``."""
    text: str
    date: str
    """When it is asked."""
    answers: tuple[str, ...]
    """The files have one, made histories may have several forms of it; where nothing answers the
    question it says why."""
    sessions: tuple[str, ...] = ()
    """Ids of the sessions that answer it."""
    turns: tuple[tuple[str, int], ...] = ()
    """Session and place of the turns that do, where they are named."""
    outdated: str | None = None
    """The answer before it changed; only of made histories."""

    @property
    def abstains(self) -> bool:
        """Whether nothing answers it, so that it is right to decline."""
        return self.id.endswith(ABSTENTION)


@dataclass(frozen=True, slots=True)
class History:
    """Sessions in the order of their dates, and what is asked after the last of them."""

    sessions: tuple[ChatSession, ...]
    questions: tuple[ChatQuestion, ...]


def read_longmemeval(path: Path) -> list[History]:
    """Histories of a file, in its order; consecutive questions about the same one share it.

    Args:
        path: ``longmemeval_s_cleaned.json``, ``longmemeval_oracle.json`` and the like, also
            gzipped.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        BenchmarkFileError: it is something else.
    """
    try:
        histories: list[History] = []
        for record in a_list(read_json(path)):
            sessions, question = _sessions(record), _question(record)
            if histories and histories[-1].sessions == sessions:
                sessions, earlier = histories[-1].sessions, histories[-1].questions
                histories[-1] = History(sessions, (*earlier, question))
            else:
                histories.append(History(sessions, (question,)))
        if not histories:
            raise ValueError("it holds no question")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BenchmarkFileError(path, benchmark="LongMemEval", reason=repr(error)) from error
    return histories


def _sessions(record: Mapping[str, Any]) -> tuple[ChatSession, ...]:
    sessions = tuple(
        ChatSession(name, date, tuple(map(_turn, turns)))
        for name, date, turns in _rows(record)
        if turns
    )
    if not sessions:
        raise ValueError(f"nothing is said before {record['question_id']}")
    return sessions


def _rows(record: Mapping[str, Any]) -> list[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    """Each session's name, date and turns, by date; a name that comes again gets a number."""
    names: dict[str, int] = {}
    columns = (a_list(record[f"haystack_{one}"]) for one in ("session_ids", "dates", "sessions"))
    rows = []
    for name, date, turns in zip(*columns, strict=True):
        names[a_text(name)] = names.get(name, 0) + 1
        own = name if names[name] == 1 else f"{name} ({names[name]})"
        rows.append((own, a_text(date), a_list(turns)))
    return sorted(rows, key=lambda row: row[1])


def _turn(found: Mapping[str, Any]) -> ChatTurn:
    if found["role"] not in _ROLES:
        raise ValueError(f"no role {found['role']!r}")
    return ChatTurn(found["role"], a_text(found["content"]))


def _question(record: Mapping[str, Any]) -> ChatQuestion:
    if record["question_type"] not in TYPES:
        raise ValueError(f"no question type {record['question_type']!r}")
    answering = [
        (name, place)
        for name, _, turns in _rows(record)
        for place, turn in enumerate(turns)
        if turn.get("has_answer")
    ]
    answers = [record["answer"], *a_list(record.get("answer_forms", []))]
    outdated = record.get("outdated_answer")
    return ChatQuestion(
        a_text(record["question_id"]),
        record["question_type"],
        a_text(record["question"]),
        a_text(record["question_date"]),
        tuple(dict.fromkeys(map(an_answer, answers))),
        tuple(map(a_text, a_list(record["answer_session_ids"]))),
        tuple(answering),
        None if outdated is None else an_answer(outdated),
    )


def records_of(history: History) -> list[dict[str, Any]]:
    """A history's questions as records of a file, each with all of the history.

    Other forms of an answer and its outdated one stand in fields that published files lack.
    """
    return [_record(history, one) for one in history.questions]


def _record(history: History, question: ChatQuestion) -> dict[str, Any]:
    answering = set(question.turns)
    record: dict[str, Any] = {
        "question_id": question.id,
        "question_type": question.type,
        "question": question.text,
        "answer": question.answers[0],
        "question_date": question.date,
        "haystack_session_ids": [one.id for one in history.sessions],
        "haystack_dates": [one.date for one in history.sessions],
        "haystack_sessions": [
            [
                {"role": turn.role, "content": turn.text}
                | ({"has_answer": True} if (one.id, place) in answering else {})
                for place, turn in enumerate(one.turns)
            ]
            for one in history.sessions
        ],
        "answer_session_ids": list(question.sessions),
    }
    if len(question.answers) > 1:
        record["answer_forms"] = list(question.answers[1:])
    if question.outdated is not None:
        record["outdated_answer"] = question.outdated
    return record
