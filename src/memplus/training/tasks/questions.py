"""Questions: write passages, ask many questions about them, learn the answers.

Everything that a document is told in a pass lies in one memory; its questions are read side by
side against it, beside questions about what earlier passes told. Some ask for what was never told,
and pieces of what was written are gone on with, which teaches a pretrained model to look at rows
at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import ClassVar

from memplus.config import MemoryConfig, require
from memplus.training.engine.schedules import Schedule
from memplus.training.tasks.asked import asked_of
from memplus.training.tasks.protocol import Draw, Job, Plan, Sizes, Texts
from memplus.training.tasks.question_mix import QuestionMix
from memplus.training.tasks.question_pass import PIECE, SCORED, QuestionPass, Written
from memplus.training.tasks.question_texts import QuestionSource
from memplus.training.tasks.telling import Pool, Teller
from memplus.training.tasks.text_task import Steps, WritingTask
from memplus.training.tasks.told_before import ToldBefore

__all__ = ["Questions"]

_PLAIN = 160
"""Tokens of a stretch of the run's own texts."""
_SHORT_ASKED = 3
"""A short text is asked for a third of the rows."""
_ASIDE = 0.7
"""Share of short texts that are told to an empty memory."""


@dataclass(frozen=True)
class Questions(QuestionMix, WritingTask):
    """Passages are told, and asked for.

    ``target_tokens`` is what a question with its answer takes at most, for reckoning what a run
    needs; longer ones are left out.
    """

    kind: ClassVar[str] = "questions"
    retrieves_rows: ClassVar[bool] = False

    target_tokens: Steps = field(default_factory=lambda: Schedule.parse(48))
    short: float = 0.0
    """Share of passes that tell each document one short text: written as less than a chunk, or left
    unwritten; most of them to an empty memory, beside the one that goes on afterwards."""
    short_tokens: Steps = field(default_factory=lambda: Schedule.parse([8, 128]))
    """Tokens of such a text."""
    answered: bool = True
    """Whether answers are learned, or only what questions retrieve: a pass then takes a quarter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_mix()
        require(0 <= self.short <= 1, "short", self.short, "it is a share")
        least = self.short_tokens.lowest
        require(least >= 2, "short_tokens", least, "it must be at least 2")
        reason = "what is left unwritten has no answers to learn"
        require(self.answered or not self.short, "short", self.short, reason)
        reason = "questions are always read against the whole memory; leave it out"
        require(self.full_pool == 1, "full_pool", self.full_pool, reason)

    @property
    def question_sources(self) -> tuple[QuestionSource, ...]:
        """Where passages and questions come from."""
        return self.sources

    def check(self, memory: MemoryConfig) -> None:
        """Refuse what contradicts the memory, and passes that would learn nothing."""
        super().check(memory)
        require(memory.bos, "task", self.kind, "questions are read behind bos; memory.bos is off")
        rows = memory.has_long_term and not memory.retrieves_spans
        reason = "questions retrieve spans; use `retrieval: {kind: spans}`"
        require(not rows, "task", self.kind, reason)
        learns = self.answered or (memory.has_long_term and memory.retrieves_spans)
        require(learns, "answered", self.answered, "no spans are retrieved, so nothing is learned")
        reason = "a short text leaves whole spans; use `retrieval: {kind: spans}`"
        require(memory.retrieves_spans or not self.short, "short", self.short, reason)

    def largest(self, memory: MemoryConfig) -> Sizes:
        """The most of everything that a pass of the run has."""
        usual, *short = self.passes(memory)
        longest = max(one.target_tokens for one in (usual, *short))
        return replace(usual, target_tokens=longest)

    def passes(self, memory: MemoryConfig) -> tuple[Sizes, ...]:
        """A pass of whole chunks, and one of a short text, which is asked for fewer rows."""
        most = super().largest(memory)
        tail = bool(self.tails) * self.tail_tokens
        read = max(PIECE, most.target_tokens + tail)
        usual = replace(most, target_tokens=read, reads=self.asked, scored=SCORED)
        if not self.short:
            return (usual,)
        text = self.short_tokens.highest
        size, read = min(most.chunk_tokens, text), max(PIECE, most.target_tokens + text)
        asked = self._asked_of_short
        return usual, replace(usual, chunks=1, chunk_tokens=size, target_tokens=read, reads=asked)

    @property
    def _asked_of_short(self) -> int:
        return max(1, self.asked // _SHORT_ASKED)

    def sizes(self, draw: Draw) -> Sizes:
        """How much is written and read, whatever the run's own documents are."""
        if self.short and draw.random.random() < self.short:
            tokens = min(draw.memory.chunk_tokens, self.short_tokens.draw(draw.step, draw.random))
            target = self.target_tokens.highest
            written = draw.random.randrange(2)
            asked = self._asked_of_short
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
        pools = [Pool(texts.items(one), self._share(one)) for one in texts.sources]
        written = Written(
            plan.written, tail, texts.clock, partial(_row_range, plan.sizes, memory=texts.memory)
        )
        teller = Teller(pools, before, self)
        pass_ = QuestionPass(self, plan.sizes.reads, teller, written, texts.spelling)
        chunks, rows = [], []
        for place, document in enumerate(texts.share):
            random = Random(f"{stem}/questions/{document}")
            own = None if plain is None else plain[place].tolist()
            told = pass_.tell(place, own, random)
            chunks.append(told.ids[: plan.written])
            rows += pass_.rows(place, told, random)
            if not aside:
                pass_.remember(texts.before, place, told)
        ids = torch.tensor(chunks, dtype=torch.int64, device=texts.device)
        parts = ids.view(len(chunks), plan.sizes.chunks, plan.sizes.chunk_tokens)
        asked = replace(asked_of(rows, texts.device), answered=self.answered)
        return Job(plan, parts, ids[:, :0], asked=asked, forgets=forgets, aside=aside)

    def _share(self, source: QuestionSource) -> float:
        """Of a source in what is told; other tasks' own have none, and are asked about."""
        return sum(one.weight for one in self.sources if one.unweighted == source)


@dataclass(frozen=True)
class _ShortText(Sizes):
    """One text of ``chunk_tokens``, which is written as it is, or not at all."""


def _row_range(sizes: Sizes, first: int, last: int, *, memory: MemoryConfig) -> tuple[int, int]:
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
