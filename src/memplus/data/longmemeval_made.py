"""Histories in LongMemEval's format, made by rule: chats with statements in them, and questions.

Six types of questions and abstention, as LongMemEval has them (2410.10813, section 3.2):

- single-session-user, knowledge-update, abstention: hand-written statements and corrections that
  the caller gives, told once, told and later changed, and never told.
- single-session-assistant: something that the assistant names when asked for advice.
- single-session-preference: what the user likes, needed for a wish that is said otherwise.
- multi-session: how often something was told, a session each time.
- temporal-reasoning: which of two things was done first, how many days lay between them, and when
  one of them was done; the dates are those of the sessions.

Between them the user tells other things, and shows passages of prose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

from memplus.data.longmemeval import (
    ABSTENTION,
    TYPES,
    ChatQuestion,
    ChatSession,
    ChatTurn,
    History,
)
from memplus.data.longmemeval_wordings import (
    ACKNOWLEDGED,
    ADVICE,
    COUNTED,
    DEEDS,
    PREFERENCES,
    SHOWN,
)
from memplus.data.plain_names import PlainNames
from memplus.data.statements import Correction, Statement
from memplus.data.stream import Reference
from memplus.errors import ConfigError

__all__ = ["Material", "make_history"]

_USER, _ASSISTANT, _PREFERENCE, _MULTI, _TEMPORAL, _UPDATE = TYPES
_NUMBERS = ("no", "one", "two", "three", "four")
_COUNTS = (2, 4)
_TOKENS_A_SESSION, _SESSIONS = 1_000, (6, 60)
_FIRST_DAY = datetime(2023, 1, 2, 9, 0)
_DAYS_BETWEEN = (1, 5)
_PROSE = 0.3
"""Share of passages of prose beside other statements."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Material:
    """What a history is made of."""

    statements: Sequence[Statement]
    """Told once, and asked for."""
    corrections: Sequence[Correction]
    untold: Sequence[Statement]
    """Asked for and never told."""
    others: Sequence[Statement]
    """Told between them; nobody asks for them."""
    passage: Callable[[], str]
    """Gives another passage of prose at every call."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A turn of the user and one of the assistant."""

    user: str
    assistant: str
    question: str = ""
    """Id of the question that it answers; empty where there is none."""
    by_assistant: bool = False
    """Whether it is the assistant's turn that does."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A question, what is told for it in as many sessions, and how the dates answer it."""

    question: ChatQuestion
    told: tuple[_Exchange, ...] = ()
    answers: Callable[[Sequence[datetime]], tuple[str, ...]] | None = None
    """From the dates of its sessions; None where the answers are known without them."""


def make_history(
    tokens: int, items: int, seed: int, material: Material, reference: Reference
) -> History:
    """A history of about so many tokens.

    Args:
        tokens: of all sessions together.
        items: questions of each type, fewer where there is less to tell.
        seed: of everything.
        material: what it is made of.
        reference: counts the tokens.

    Raises:
        ConfigError: what must be told is longer than that.
    """
    random = Random(f"history {seed} {tokens}")
    drafts = list(_drafts(items, material, random))
    count = min(max(tokens // _TOKENS_A_SESSION, _SESSIONS[0]), _SESSIONS[1])
    dates = _dates(count, random)
    chats: list[list[_Exchange]] = [[] for _ in range(count)]
    questions = []
    for draft in drafts:
        places = sorted(random.sample(range(count), len(draft.told)))
        for place, exchange in zip(places, draft.told, strict=True):
            chats[place].append(exchange)
        answers = draft.question.answers
        if draft.answers is not None:
            answers = draft.answers([dates[place] for place in places])
        questions.append(replace(draft.question, answers=answers))
    left = tokens - sum(_length(one, reference) for chat in chats for one in chat)
    if left < 0:
        reason = f"what must be told for them does not fit into {tokens} tokens"
        raise ConfigError("items", value=items, reason=reason)
    _fill(chats, _others(material, random), left, random, reference)
    for chat in chats:
        random.shuffle(chat)
    sessions = tuple(
        ChatSession(f"session_{index}", _shown(date), tuple(_turns(chat)))
        for index, (date, chat) in enumerate(zip(dates, chats, strict=True), start=1)
    )
    asked_on = _shown(dates[-1] + timedelta(days=1))
    placed = tuple(_placed(one, asked_on, sessions, chats) for one in questions)
    return History(tuple(one for one in sessions if one.turns), placed)


def _drafts(items: int, material: Material, random: Random) -> Iterator[_Draft]:
    """All questions with what is told for them."""
    for index, one in enumerate(_some(material.statements, items, random)):
        yield _about_statement(f"user_{index}", one, random, told=True)
    yield from _about_advice(items, random)
    for index, liked in enumerate(_some(PREFERENCES, items, random)):
        key, value = f"preference_{index}", random.choice(liked.values)
        exchange = _noted(liked.says.format(value), key, random)
        yield _Draft(_blank(key, _PREFERENCE, liked.question, (value,)), (exchange,))
    for index, counted in enumerate(_some(COUNTED, items, random)):
        key, count = f"multi_{index}", random.randint(*_COUNTS)
        values = random.sample(counted.values, count)
        exchanges = tuple(_noted(counted.says.format(one), key, random) for one in values)
        forms = (_NUMBERS[count], str(count))
        yield _Draft(_blank(key, _MULTI, counted.question, forms), exchanges)
    yield from _about_time(items, random)
    for index, change in enumerate(_some(material.corrections, items, random)):
        key = f"update_{index}"
        exchanges = tuple(_noted(text, key, random) for text in (change.text, change.later))
        asked = _blank(key, _UPDATE, change.question, change.answers)
        yield _Draft(replace(asked, outdated=change.outdated[0]), exchanges)
    for index, one in enumerate(_some(material.untold, items, random)):
        yield _about_statement(f"untold_{index}{ABSTENTION}", one, random, told=False)


def _some(found: Sequence[_T], items: int, random: Random) -> list[_T]:
    """So many of them, by chance; all where there are fewer."""
    return random.sample(found, min(items, len(found)))


def _blank(key: str, type_: str, text: str, answers: tuple[str, ...]) -> ChatQuestion:
    """A question before its history has places."""
    return ChatQuestion(key, type_, text, "", answers)


def _noted(text: str, key: str, random: Random) -> _Exchange:
    """The user tells something, the assistant has heard it."""
    return _Exchange(text, random.choice(ACKNOWLEDGED), key)


def _about_statement(key: str, one: Statement, random: Random, *, told: bool) -> _Draft:
    asked = random.choice(one.questions)
    answers = asked.answers if told else ("You did not mention this.",)
    question = _blank(key, _USER, asked.question, answers)
    return _Draft(question, (_noted(one.text, key, random),) if told else ())


def _about_advice(items: int, random: Random) -> Iterator[_Draft]:
    names = PlainNames(random)
    for index, advice in enumerate(_some(ADVICE, items, random)):
        key, name = f"assistant_{index}", names.draw(advice.kind)
        forms = (name, name.removeprefix("The ")) if advice.kind == "book" else (name,)
        exchange = _Exchange(advice.asks, advice.says.format(name), key, by_assistant=True)
        yield _Draft(_blank(key, _ASSISTANT, advice.question, forms), (exchange,))


def _about_time(items: int, random: Random) -> Iterator[_Draft]:
    """In turn: what came first, how many days lay between, and when it was."""
    deeds = random.sample(DEEDS, len(DEEDS))
    pairs = list(zip(deeds[::2], deeds[1::2], strict=True))[:items]
    for index, (first, second) in enumerate(pairs):
        key = f"temporal_{index}"
        told = tuple(_noted(one.said, key, random) for one in (first, second))
        if index % 3 == 0:
            named = [first.done, second.done]
            random.shuffle(named)
            text = f"What did I do first: I {named[0]}, or I {named[1]}?"
            yield _Draft(_blank(key, _TEMPORAL, text, (first.done,)), told)
        elif index % 3 == 1:
            text = f"I {first.done}, and later I {second.done}. How many days lay between?"
            yield _Draft(_blank(key, _TEMPORAL, text, ()), told, _days_between)
        else:
            text = f"On which day was it that I {first.done}?"
            yield _Draft(_blank(key, _TEMPORAL, text, ()), told[:1], _day_forms)


def _days_between(dates: Sequence[datetime]) -> tuple[str, ...]:
    days = (dates[1].date() - dates[0].date()).days
    return (f"{days} days" if days > 1 else "1 day", str(days))


def _day_forms(dates: Sequence[datetime]) -> tuple[str, ...]:
    (date,) = dates
    forms = (f"{date:%Y/%m/%d}", f"{date.day} {date:%B}", f"{date:%B} {date.day}")
    return (*forms, f"{date:%Y-%m-%d}")


def _dates(count: int, random: Random) -> list[datetime]:
    """Of sessions, a few days apart, at any time of the day."""
    date, dates = _FIRST_DAY, []
    for _ in range(count):
        dates.append(date + timedelta(minutes=random.randrange(12 * 60)))
        date += timedelta(days=random.randint(*_DAYS_BETWEEN))
    return dates


def _shown(date: datetime) -> str:
    return f"{date:%Y/%m/%d} ({date:%a}) {date:%H:%M}"


def _fill(
    chats: Sequence[list[_Exchange]],
    others: Iterator[_Exchange],
    left: int,
    random: Random,
    reference: Reference,
) -> None:
    """Add what nobody asks for as long as it fits, first to chats of nothing, then by chance."""
    empty = [chat for chat in chats if not chat]
    for exchange in others:
        left -= _length(exchange, reference)
        if left < 0:
            break
        (empty.pop() if empty else random.choice(chats)).append(exchange)


def _others(material: Material, random: Random) -> Iterator[_Exchange]:
    """Other statements, each once, with passages of prose between them, and then these alone."""
    for one in random.sample(material.others, len(material.others)):
        yield _Exchange(one.text, random.choice(ACKNOWLEDGED))
        if random.random() < _PROSE:
            yield _Exchange(_showing(material, random), random.choice(ACKNOWLEDGED))
    while True:
        yield _Exchange(_showing(material, random), random.choice(ACKNOWLEDGED))


def _showing(material: Material, random: Random) -> str:
    passage = " ".join(material.passage().split())
    return random.choice(SHOWN).format(passage)


def _length(exchange: _Exchange, reference: Reference) -> int:
    """Roughly in tokens, with what says whose turn it is."""
    lines = [f"User: {exchange.user}\n", f"Assistant: {exchange.assistant}\n"]
    return sum(len(ends) for ends in reference(lines))


def _turns(chat: Sequence[_Exchange]) -> Iterator[ChatTurn]:
    for one in chat:
        yield ChatTurn("user", one.user)
        yield ChatTurn("assistant", one.assistant)


def _placed(
    question: ChatQuestion,
    asked_on: str,
    sessions: Sequence[ChatSession],
    chats: Sequence[Sequence[_Exchange]],
) -> ChatQuestion:
    """The question with the turns that answer it."""
    turns = tuple(
        (session.id, 2 * place + exchange.by_assistant)
        for session, chat in zip(sessions, chats, strict=True)
        for place, exchange in enumerate(chat)
        if exchange.question == question.id
    )
    names = tuple(dict.fromkeys(name for name, _ in turns))
    return replace(question, date=asked_on, sessions=names, turns=turns)
