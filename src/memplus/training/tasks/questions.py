"""Questions: write passages, ask many questions about them, learn the answers.

Everything that a document is told in a pass lies in one memory; its questions are read side by
side against it. Some ask for what was never told, and pieces of what was written are gone on with,
which teaches a pretrained model to look at rows at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import ClassVar

from memplus.config import MemoryConfig, require
from memplus.training.engine.schedules import Schedule
from memplus.training.tasks.asked import AskedRow, Kind, asked_of
from memplus.training.tasks.protocol import Draw, Job, Plan, Sizes, Texts
from memplus.training.tasks.question_texts import Item, QuestionSource, Stretch, stretch
from memplus.training.tasks.text_task import Steps, WritingTask

__all__ = ["Questions"]

_SEPARATORS = ("\n\n", "\n", " ")
_PIECE, _GIVEN = 32, 10
"""Tokens of a piece that is gone on with, and those of them that are given."""
_ATTEMPTS = 8
"""Draws before a passage is told a second time in one pass."""
_PLAIN = 160
"""Tokens of a stretch of the run's own texts."""


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
    answered: bool = True
    """Whether answers are learned, or only what questions retrieve: a pass then takes a quarter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.sources), "sources", self.sources, "there is nothing to ask about")
        require(self.asked >= 1, "asked", self.asked, "it must be at least 1")
        reason = f"{self.asked} rows are asked"
        require(0 <= self.continued <= self.asked, "continued", self.continued, reason)
        for name in ("untold", "one_topic", "plain", "tails", "forgets"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "it is a share")
        require(self.plain < 1, "plain", self.plain, "there is nothing to ask about")
        require(self.tail_tokens >= 1, "tail_tokens", self.tail_tokens, "it must be at least 1")

    def check(self, memory: MemoryConfig) -> None:
        """Refuse what contradicts the memory, and passes that would learn nothing."""
        super().check(memory)
        learns = self.answered or (memory.has_long_term and memory.retrieves_spans)
        require(learns, "answered", self.answered, "no spans are retrieved, so nothing is learned")

    def largest(self, memory: MemoryConfig) -> Sizes:
        """The largest pass of the run."""
        sizes = super().largest(memory)
        longest = max(_PIECE, sizes.target_tokens + bool(self.tails) * self.tail_tokens)
        return replace(sizes, target_tokens=longest, reads=self.asked)

    def sizes(self, draw: Draw) -> Sizes:
        """How much is written and read, whatever the run's own documents are."""
        longest = self.chunks.highest * self.largest(draw.memory).chunk_tokens
        wide = replace(draw, longest=longest + self.target_tokens.highest)
        return replace(super().sizes(wide), reads=self.asked)

    def job(self, plan: Plan, texts: Texts) -> Job:
        """Chunks of passages, and what is asked about them."""
        import torch

        stem = f"{texts.seed}/{plan.step}/{plan.part}"
        common = Random(f"{stem}/questions")
        forgets = common.random() < self.forgets
        tail = common.randint(8, self.tail_tokens) if common.random() < self.tails else 0
        plain = texts.take(_PLAIN) if self.plain else None
        chunks, rows = [], []
        for place, document in enumerate(texts.share):
            random = Random(f"{stem}/questions/{document}")
            own = None if plain is None else Item((tuple(plain[place].tolist()),), "", ())
            told = self._told(plan.written + tail, texts, own, random)
            chunks.append(told.ids[: plan.written])
            rows += self._rows(plan, told, texts, random)
        ids = torch.tensor(chunks, dtype=torch.int64, device=texts.device)
        written = ids.view(len(chunks), plan.sizes.chunks, plan.sizes.chunk_tokens)
        asked = replace(asked_of(rows, texts.device), answered=self.answered)
        return Job(plan, written, ids[:, :0], asked=asked, forgets=forgets)

    def _told(self, length: int, texts: Texts, plain: Item | None, random: Random) -> Stretch:
        """What one document is told: passages of all sources, or of one topic."""
        weights = [one.weight for one in self.sources]
        pools: Sequence[list[Item]] = [texts.items(one) for one in self.sources]
        if random.random() < self.one_topic:
            like = random.choice(random.choices(pools, weights)[0])
            pools = [[one for one in pool if one.topic == like.topic] for pool in pools]
            weights = [w * bool(pool) for w, pool in zip(weights, pools, strict=True)]
        given = [plain] if plain is not None else []

        told: set[int] = set()

        def draw() -> Item:
            if given and random.random() < self.plain:
                return given.pop()
            for _ in range(_ATTEMPTS):
                item = random.choice(random.choices(pools, weights)[0])
                if id(item) not in told:
                    break
            told.add(id(item))
            return item

        between = [texts.encode(one) for one in _SEPARATORS]
        return stretch(length, draw, between, random)

    def _rows(self, plan: Plan, told: Stretch, texts: Texts, random: Random) -> list[AskedRow]:
        """A document's rows; pieces of the text stand in where it has too few questions."""
        written = plan.written
        tail = told.ids[written:]
        questions = random.sample(told.questions, len(told.questions))
        rows = []
        for place in range(self.asked):
            untold = random.random() < self.untold
            if place < self.continued or not (untold or questions):
                rows.append(_piece(plan.sizes, told.ids[:written], texts.memory, random))
            elif untold:
                source = random.choices(self.sources, [one.weight for one in self.sources])[0]
                asked = random.choice(random.choice(texts.items(source)).questions)
                answer = texts.spelling.abstention
                rows.append(AskedRow(Kind.UNTOLD, tail, asked.prompt, answer))
            else:
                one, first, last = questions.pop()
                right = None
                if first < written:
                    right = _row_range(plan.sizes, first, min(last, written - 1), texts.memory)
                rows.append(AskedRow(Kind.TOLD, tail, one.prompt, one.answer, right))
        return rows


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
    kept, size = memory.tokens_per_write, sizes.chunk_tokens
    before = size - kept
    chunk, place = divmod(first, size)
    begin = chunk * kept + max(0, place - before)
    chunk, place = divmod(last, size)
    end = chunk * kept + (place - before if place >= before else kept - 1)
    return begin, max(begin, end)
