"""Questions: write passages, ask many questions about them, learn the answers.

Everything that a document is told in a pass lies in one memory; its questions are read side by
side against it, beside questions about what earlier passes told. Some ask for what was never told,
and pieces of what was written are gone on with, which teaches a pretrained model to look at rows
at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import ClassVar, TypeVar

from memplus.config import MemoryConfig, require
from memplus.training.engine.schedules import Schedule
from memplus.training.tasks.asked import AskedRow, Kind, asked_of
from memplus.training.tasks.protocol import Draw, Job, Plan, Sizes, Texts
from memplus.training.tasks.question_texts import Item, QuestionSource
from memplus.training.tasks.telling import NO_SOURCE, Pool, Stretch, Teller, ToldQuestion
from memplus.training.tasks.text_task import Steps, WritingTask
from memplus.training.tasks.told_before import EarlierQuestion, Key, ToldBefore

__all__ = ["Questions"]

_Question = TypeVar("_Question", ToldQuestion, EarlierQuestion)
_SEPARATORS = ("\n\n", "\n", " ")
_PIECE, _GIVEN = 32, 10
"""Tokens of a piece that is gone on with, and those of them that are given."""
_PLAIN = 160
"""Tokens of a stretch of the run's own texts."""
_LEAST_PIECE = 16
"""Tokens of a text of which a piece can be gone on with."""
_SHORT_ASKED = 3
"""A short text is asked for a third of the rows."""
_ASIDE = 0.7
"""Share of short texts that are told to an empty memory."""


@dataclass(frozen=True)
class Questions(WritingTask):
    """Passages are told, and asked for.

    ``target_tokens`` is what a question with its answer takes at most, for reckoning what a run
    needs; longer ones are left out.
    """

    kind: ClassVar[str] = "questions"

    target_tokens: Steps = field(default_factory=lambda: Schedule.parse(48))
    sources: tuple[QuestionSource, ...] = ()
    """Where passages and questions come from."""
    asked: int = 10
    """Rows read for each document: questions, and pieces that are gone on with."""
    untold: float = 0.1
    """Share of them that ask for what was never told; the answer is the prompt's abstention."""
    continued: int = 1
    """Of each document's rows, pieces of what was written."""
    one_topic: float = 0.25
    """Share of documents whose passages are all of one article or story: look-alikes."""
    plain: float = 0.0
    """Share of passages that are stretches of the run's own texts, without questions."""
    tails: float = 0.0
    """Share of passes that leave up to ``tail_tokens`` unwritten, read before each question."""
    tail_tokens: int = 128
    forgets: float = 0.0
    """Share of passes that begin with empty memories."""
    earlier: float = 0.0
    """Share of the questions that ask for what earlier passes told, wherever it is by now."""
    short: float = 0.0
    """Share of passes that tell each document one short text: written as less than a chunk, or left
    unwritten; most of them to an empty memory, beside the one that goes on afterwards."""
    short_tokens: Steps = field(default_factory=lambda: Schedule.parse([8, 128]))
    """Tokens of such a text."""
    answered: bool = True
    """Whether answers are learned, or only what questions retrieve: a pass then takes a quarter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.sources), "sources", self.sources, "there is nothing to ask about")
        require(self.asked >= 1, "asked", self.asked, "it must be at least 1")
        reason = f"{self.asked} rows are asked"
        require(0 <= self.continued <= self.asked, "continued", self.continued, reason)
        for name in ("untold", "one_topic", "plain", "tails", "forgets", "earlier", "short"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "it is a share")
        require(self.plain < 1, "plain", self.plain, "there is nothing to ask about")
        require(self.tail_tokens >= 1, "tail_tokens", self.tail_tokens, "it must be at least 1")
        least = self.short_tokens.lowest
        require(least >= 2, "short_tokens", least, "it must be at least 2")
        reason = "what is left unwritten has no answers to learn"
        require(self.answered or not self.short, "short", self.short, reason)

    def check(self, memory: MemoryConfig) -> None:
        """Refuse what contradicts the memory, and passes that would learn nothing."""
        super().check(memory)
        learns = self.answered or (memory.has_long_term and memory.retrieves_spans)
        require(learns, "answered", self.answered, "no spans are retrieved, so nothing is learned")
        reason = "a short text leaves whole spans; use `retrieval: {kind: spans}`"
        require(memory.retrieves_spans or not self.short, "short", self.short, reason)

    def largest(self, memory: MemoryConfig) -> Sizes:
        """The largest pass of the run."""
        sizes = super().largest(memory)
        unwritten = bool(self.tails) * self.tail_tokens
        if self.short:
            unwritten = max(unwritten, self.short_tokens.highest)
        longest = max(_PIECE, sizes.target_tokens + unwritten)
        return replace(sizes, target_tokens=longest, reads=self.asked)

    def sizes(self, draw: Draw) -> Sizes:
        """How much is written and read, whatever the run's own documents are."""
        if self.short and draw.random.random() < self.short:
            tokens = min(draw.memory.chunk_tokens, self.short_tokens.draw(draw.step, draw.random))
            asked = max(1, self.asked // _SHORT_ASKED)
            target = self.target_tokens.highest
            written = draw.random.randrange(2)
            return _ShortText(written, tokens, target, self.gradient_writes, asked)
        longest = self.chunks.highest * self.largest(draw.memory).chunk_tokens
        wide = replace(draw, longest=longest + self.target_tokens.highest)
        return replace(super().sizes(wide), reads=self.asked)

    def job(self, plan: Plan, texts: Texts) -> Job:
        """Chunks of passages, and what is asked about them."""
        import torch

        stem = f"{texts.seed}/{plan.step}/{plan.part}"
        common = Random(f"{stem}/questions")
        short = isinstance(plan.sizes, _ShortText)
        forgets = not short and common.random() < self.forgets
        tail = common.randint(8, self.tail_tokens) if common.random() < self.tails else 0
        if short:
            tail = 0 if plan.sizes.chunks else plan.sizes.chunk_tokens
        aside = short and common.random() < _ASIDE
        before = ToldBefore(len(texts.share), 0) if aside or forgets else texts.before
        if forgets:
            texts.before.clear()
        plain = texts.take(_PLAIN) if self.plain and not short else None
        pools = [Pool(texts.items(one), one.weight) for one in self.sources]
        pass_ = _Pass(self, plan, texts, Teller(pools, before, self.one_topic, self.plain), tail)
        chunks, rows = [], []
        for place, document in enumerate(texts.share):
            random = Random(f"{stem}/questions/{document}")
            own = None if plain is None else Item((tuple(plain[place].tolist()),), "", ())
            told = pass_.tell(place, own, random)
            chunks.append(told.ids[: plan.written])
            rows += pass_.rows(place, told, random)
            if not aside:
                pass_.remember(place, told)
        ids = torch.tensor(chunks, dtype=torch.int64, device=texts.device)
        written = ids.view(len(chunks), plan.sizes.chunks, plan.sizes.chunk_tokens)
        asked = replace(asked_of(rows, texts.device), answered=self.answered)
        return Job(plan, written, ids[:, :0], asked=asked, forgets=forgets, aside=aside)


@dataclass(frozen=True)
class _ShortText(Sizes):
    """One text of ``chunk_tokens``, which is written as it is, or not at all."""


@dataclass(frozen=True)
class _Pass:
    """What documents are told and asked in one pass."""

    task: Questions
    plan: Plan
    texts: Texts
    teller: Teller
    tail: int
    """Tokens left unwritten."""

    def tell(self, document: int, plain: Item | None, random: Random) -> Stretch:
        between = [self.texts.encode(one) for one in _SEPARATORS]
        length = self.plan.written + self.tail
        return self.teller.tell(document, length, plain, between, random)

    def rows(self, document: int, told: Stretch, random: Random) -> list[AskedRow]:
        """A document's rows; where it has too few questions, pieces of the text stand in, and of
        a text too short for pieces the same questions again.
        """
        task, written = self.task, self.plan.written
        tail = told.ids[written:]
        questions = _by_turns(told.questions, lambda one: one.telling.key, random)
        now = {telling.key for telling, _, _ in told.told}
        lasting = [one for one in self.teller.before.questions(document) if one.key not in now]
        earlier = _by_turns(lasting, lambda one: one.key, random)
        rows = []
        written_ids = told.ids[:written] if written >= _LEAST_PIECE else ()
        for place in range(self.plan.sizes.reads):
            lot = random.random()
            if place < task.continued and written_ids:
                rows.append(self._piece(written_ids, random))
            elif lot < task.untold:
                rows.append(self._untold(document, tail, told, random))
            elif questions and (lot >= task.untold + task.earlier or not earlier):
                rows.append(self._told(tail, questions.pop()))
            elif earlier:
                rows.append(self._earlier(tail, earlier.pop()))
            elif written_ids:
                rows.append(self._piece(written_ids, random))
            elif told.questions:
                rows.append(self._told(tail, random.choice(told.questions)))
            else:
                rows.append(self._untold(document, tail, told, random))
        return rows

    def _piece(self, ids: Sequence[int], random: Random) -> AskedRow:
        return _piece(self.plan.sizes, ids, self.texts.memory, random)

    def _told(self, tail: Sequence[int], one: ToldQuestion) -> AskedRow:
        written, right = self.plan.written, None
        if one.first < written:
            last = min(one.last, written - 1)
            right = _row_range(self.plan.sizes, one.first, last, self.texts.memory)
        return AskedRow(Kind.TOLD, tail, one.asked.prompt, one.asked.answer, right)

    def _earlier(self, tail: Sequence[int], one: EarlierQuestion) -> AskedRow:
        source, place = one.key
        asked = self.teller.pools[source].items[place].questions[one.question]
        first = self.texts.clock + 1
        right = one.first - first, one.last - first
        return AskedRow(Kind.EARLIER, tail, asked.prompt, asked.answer, right)

    def _untold(
        self, document: int, tail: Sequence[int], told: Stretch, random: Random
    ) -> AskedRow:
        asked = self.teller.untold(document, told, random)
        return AskedRow(Kind.UNTOLD, tail, asked.prompt, self.texts.spelling.abstention)

    def remember(self, document: int, told: Stretch) -> None:
        """What this pass writes can be asked for in later ones."""
        sizes, memory, written = self.plan.sizes, self.texts.memory, self.plan.written
        begin = self.texts.clock + 1
        asked: dict[Key, list[EarlierQuestion]] = {}
        for one in told.questions:
            if one.last < written:
                rows = _row_range(sizes, one.first, one.last, memory)
                key = one.telling.key
                births = begin + rows[0], begin + rows[1]
                asked.setdefault(key, []).append(EarlierQuestion(key, one.index, *births))
        for telling, part, end in told.told:
            if telling.source == NO_SOURCE or end - len(telling.item.parts[part]) >= written:
                continue
            _, last = _row_range(sizes, 0, min(end, written) - 1, memory)
            # Of what is cut short nothing is known to correct.
            whole = part if end <= written else len(telling.item.parts)
            found = asked.get(telling.key, [])
            self.texts.before.add(document, telling.key, whole, begin + last, found)


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


def _piece(sizes: Sizes, ids: Sequence[int], memory: MemoryConfig, random: Random) -> AskedRow:
    """A piece of what was written, from any point of it."""
    start = random.randint(0, max(0, len(ids) - _PIECE))
    end = min(len(ids), start + _PIECE)
    given = min(start + _GIVEN, end - 1)
    rows = _row_range(sizes, given, end - 1, memory)
    return AskedRow(Kind.CONTINUED, (), ids[start:given], ids[given:end], rows)


def _row_range(sizes: Sizes, first: int, last: int, memory: MemoryConfig) -> tuple[int, int]:
    """Rows that can hold tokens first..last of what a pass writes.

    The rows of a write stand at the chunk's last K tokens; what is before them can be in any.
    """
    size = sizes.chunk_tokens
    kept = memory.rows_of_write(size)
    before = size - kept
    chunk, place = divmod(first, size)
    begin = chunk * kept + max(0, place - before)
    chunk, place = divmod(last, size)
    end = chunk * kept + (place - before if place >= before else kept - 1)
    return begin, max(begin, end)
