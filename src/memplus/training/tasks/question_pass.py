"""One pass of telling and asking: what each document is told, and the rows that ask about it.

Token ids only: no tensors and no model. Whoever remembers says which of its rows hold a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TypeVar

from memplus.training.tasks.asked import AskedRow, Kind
from memplus.training.tasks.question_mix import QuestionMix
from memplus.training.tasks.question_texts import LONGEST_ANSWER, Item, Spelling
from memplus.training.tasks.telling import NO_SOURCE, Stretch, Teller, ToldQuestion
from memplus.training.tasks.told_before import EarlierQuestion, Key, ToldBefore

__all__ = ["PIECE", "SCORED", "QuestionPass", "Written"]

_Question = TypeVar("_Question", ToldQuestion, EarlierQuestion)
_SEPARATORS = ("\n\n", "\n", " ")
PIECE = 32
"""Tokens of a piece that is gone on with."""
_GIVEN = 10
"""Those of them that are given."""
SCORED = max(PIECE - _GIVEN, LONGEST_ANSWER)
"""Most tokens of a row that are predicted."""
_LEAST_PIECE = 16
"""Tokens of a text of which a piece can be gone on with."""


@dataclass(frozen=True)
class Written:
    """Where what a pass tells ends up."""

    tokens: int
    """Written of each document."""
    tail: int
    """Tokens told behind them and left unwritten."""
    clock: int
    """Rows made before."""
    rows: Callable[[int, int], tuple[int, int]]
    """(first, last token written) -> first and last row that can hold them, from 0."""


@dataclass(frozen=True)
class QuestionPass:
    """What documents are told and asked in one pass."""

    mix: QuestionMix
    reads: int
    """Rows asked of each document."""
    teller: Teller
    written: Written
    spelling: Spelling

    @cached_property
    def _between(self) -> list[list[int]]:
        return [self.spelling.text(one)[0] for one in _SEPARATORS]

    def tell(self, document: int, plain: Sequence[int] | None, random: Random) -> Stretch:
        """What one document is told.

        Args:
            document: of this process.
            plain: a stretch of the run's own texts, or None.
            random: of the document's pass.
        """
        own = None if plain is None else Item((tuple(plain),), "", ())
        length = self.written.tokens + self.written.tail
        return self.teller.tell(document, length, own, self._between, random)

    def rows(self, document: int, told: Stretch, random: Random) -> list[AskedRow]:
        """A document's rows; where it has too few questions, pieces of the text stand in, and of
        a text too short for pieces the same questions again.
        """
        mix, written = self.mix, self.written.tokens
        tail = told.ids[written:]
        questions = _by_turns(told.questions, lambda one: one.telling.key, random)
        now = {telling.key for telling, _, _ in told.told}
        lasting = [one for one in self.teller.before.questions(document) if one.key not in now]
        earlier = _by_turns(lasting, lambda one: one.key, random)
        rows = []
        written_ids = told.ids[:written] if written >= _LEAST_PIECE else ()
        for place in range(self.reads):
            lot = random.random()
            if place < mix.continued and written_ids:
                rows.append(self._piece(written_ids, random))
            elif lot < mix.untold:
                rows.append(self._untold(document, tail, told, random))
            elif questions and (lot >= mix.untold + mix.earlier or not earlier):
                rows.append(self._told(tail, self._next(questions, random)))
            elif earlier:
                rows.append(self._earlier(tail, self._next(earlier, random)))
            elif written_ids:
                rows.append(self._piece(written_ids, random))
            elif told.questions:
                rows.append(self._told(tail, random.choice(told.questions)))
            else:
                rows.append(self._untold(document, tail, told, random))
        return rows

    def _next(self, waiting: list[_Question], random: Random) -> _Question:
        """The next question, taken out; with ``corrected``, now and then the next such one."""
        if self.mix.corrected and random.random() < self.mix.corrected:
            for place in reversed(range(len(waiting))):
                if self._corrects(waiting[place]):
                    return waiting.pop(place)
        return waiting.pop()

    def _corrects(self, one: ToldQuestion | EarlierQuestion) -> bool:
        """Whether the answer is what a correction tells."""
        if isinstance(one, ToldQuestion):
            return one.asked.part > 0
        source, place = one.key
        return self.teller.pools[source].items[place].questions[one.question].part > 0

    def _piece(self, ids: Sequence[int], random: Random) -> AskedRow:
        """A piece of what was written, from any point of it."""
        start = random.randint(0, max(0, len(ids) - PIECE))
        end = min(len(ids), start + PIECE)
        given = min(start + _GIVEN, end - 1)
        rows = self.written.rows(given, end - 1)
        return AskedRow(Kind.CONTINUED, (), ids[start:given], ids[given:end], rows)

    def _told(self, tail: Sequence[int], one: ToldQuestion) -> AskedRow:
        written, right = self.written.tokens, None
        if one.first < written:
            right = self.written.rows(one.first, min(one.last, written - 1))
        return AskedRow(Kind.TOLD, tail, one.asked.prompt, one.asked.answer, right)

    def _earlier(self, tail: Sequence[int], one: EarlierQuestion) -> AskedRow:
        source, place = one.key
        asked = self.teller.pools[source].items[place].questions[one.question]
        first = self.written.clock + 1
        right = one.first - first, one.last - first
        return AskedRow(Kind.EARLIER, tail, asked.prompt, asked.answer, right)

    def _untold(
        self, document: int, tail: Sequence[int], told: Stretch, random: Random
    ) -> AskedRow:
        asked = self.teller.untold(document, told, random)
        return AskedRow(Kind.UNTOLD, tail, asked.prompt, self.spelling.abstention)

    def remember(self, before: ToldBefore, document: int, told: Stretch) -> None:
        """What this pass writes can be asked for in later ones.

        Args:
            before: is added to.
            document: of this process.
            told: what it was told.
        """
        written, rows = self.written.tokens, self.written.rows
        begin = self.written.clock + 1
        asked: dict[Key, list[EarlierQuestion]] = {}
        for one in told.questions:
            if one.last < written:
                key, place = one.telling.key, rows(one.first, one.last)
                births = begin + place[0], begin + place[1]
                asked.setdefault(key, []).append(EarlierQuestion(key, one.index, *births))
        for telling, part, end in told.told:
            if telling.source == NO_SOURCE or end - len(telling.item.parts[part]) >= written:
                continue
            _, last = rows(0, min(end, written) - 1)
            # Of what is cut short nothing is known to correct.
            whole = part if end <= written else len(telling.item.parts)
            found = asked.get(telling.key, [])
            before.add(document, telling.key, whole, begin + last, found)


def _by_turns(
    questions: Sequence[_Question], key: Callable[[_Question], Key], random: Random
) -> list[_Question]:
    """Shuffled, last one first: one of every item, then a second one of those that have it.

    A passage that brings five questions is asked for no more often than a statement with one.
    """
    counts: Counter[Key] = Counter()
    turns = []
    for one in random.sample(questions, len(questions)):
        counts[key(one)] += 1
        turns.append((counts[key(one)], random.random(), one))
    turns.sort(key=lambda turn: turn[:2], reverse=True)
    return [one for _, _, one in turns]
