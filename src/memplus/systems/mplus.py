"""M+ and MemoryLLM: one model with a memory, with and without its long-term part.

The memory with its long-term part is M+ (2502.00592). The same memory without it, taken off
between two writes, is what a MemoryLLM (2402.04624) of the same weights, seed and drops would
hold, so one stream of writes serves both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from memplus.config import MemoryConfig
from memplus.data.stream import Told
from memplus.errors import ConfigError, SessionMismatchError
from memplus.memory.records import Passage
from memplus.memory.state import Memory
from memplus.mplus.asking import Answer
from memplus.mplus.fingerprint import digest
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.read import Prefix
from memplus.systems.note_rows import recall
from memplus.systems.protocol import ChatPrompt, Evidence, Recalled, Reply, Session, Text, pieces_of
from memplus.systems.shared import READ_TOGETHER, NoOptions, Shared, SharedSystem

__all__ = ["MPlusSystem", "MemoryLLMSystem", "MemorySession"]

_WRITE = 24
"""About the bytes that are kept of a write, beside its source's name: four values in JSON."""


@dataclass(frozen=True)
class _Read(Reply):
    """A reply that keeps hold of the read behind it."""

    prefix: MemoryPrefix | None = None
    row: int = 0
    """Its place in the batch that was asked together."""


class MemorySession:
    """A memory of one model.

    Args:
        shared: the model.
        memory: is written to by this session alone.
    """

    def __init__(self, shared: Shared, memory: Memory) -> None:
        self.shared = shared
        self.memory = memory

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and their bookkeeping, and of what is kept of every write."""
        writes = sum(_WRITE + len(record.source) for record in self.memory.writes)
        return self.memory.nbytes + writes

    @property
    def tokens(self) -> int:
        """Tokens written, and those that wait in the tail."""
        return self.memory.tokens + len(self.memory.tail)

    def write(self, text: Text, source: str = "") -> None:
        """See ``Session.write``; what fills no chunk waits in the memory's tail."""
        ids = self.shared.encode(pieces_of(text, source))
        if ids:
            self.shared.mplus.write(self.memory, ids, source=source)

    def flush(self) -> None:
        """Write the tail, as a chunk of its own."""
        memory = self.memory
        if memory.tail:
            waiting = Passage(tuple(memory.tail), memory.tail_text)
            self.shared.mplus.replay(memory, [(memory.tail_source, waiting)])

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; read in one batch, nothing withheld for lack of confidence."""
        if not questions:
            return []
        found = self.shared.mplus.asker.ask_together(self.memory, questions, max_new_tokens)
        return [
            _Read(text, self.shared.declines(text), generated, prefix=found.prefix, row=row)
            for row, (text, generated) in enumerate(zip(found.texts, found.generated, strict=True))
        ]

    def explain(
        self,
        questions: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        min_confidence: float | None = None,
    ) -> list[Reply]:
        """See ``Explains.explain``."""
        reads: list[tuple[Prefix, int]] = []
        answers = self.shared.mplus.asker.ask(
            self.memory,
            list(questions),
            max_new_tokens=max_new_tokens,
            min_confidence=min_confidence,
            watched=lambda watch, row: reads.append((watch.prefix, row)),
        )
        return [self._explained(*one) for one in zip(answers, reads, strict=True)]

    def _explained(self, answer: Answer, read: tuple[Prefix, int]) -> Reply:
        evidence = tuple(
            Evidence(one.source, one.start, one.start + one.tokens, one.share, one.text)
            for one in answer.evidence
            if one.write_id != 0  # rows that came with the model say nothing that was written
        )
        return _Read(
            answer.text,
            self.shared.declines(answer.text),
            answer.withheld or answer.text,
            answer.confidence,
            evidence,
            prefix=read[0] if isinstance(read[0], MemoryPrefix) else None,
            row=read[1],
        )

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``."""
        return self.shared.score(self.memory, prompts, options)

    def recalled(self, reply: Reply, told: Told) -> Recalled | None:
        """See ``Recalls.recalled``."""
        if self.memory.long_term is None or not isinstance(reply, _Read) or reply.prefix is None:
            return None
        stored = self.memory.long_term_rows
        chance = min(1.0, self.memory.config.retrieved_tokens / stored) if stored else 1.0
        return Recalled(recall(self.memory, reply.prefix, reply.row, told), chance)

    def fork(self) -> MemorySession:
        """See ``Session.fork``; rows are shared until either session writes."""
        return MemorySession(self.shared, self.memory.fork())

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        self.memory.save(path)


class MPlusSystem(SharedSystem[NoOptions]):
    """M+ (2502.00592).

    Raises:
        ConfigError: the model has no long-term memory.
    """

    registered = "mplus"
    called = "M+"
    revision = 2  # short writes of spans repeat their own rows
    options_type = NoOptions
    sessions: type[Session] = MemorySession
    questions_together = READ_TOGETHER
    remembers = True

    def __init__(self, shared: Shared, options: NoOptions | None = None) -> None:
        super().__init__(shared, options)
        if self._needs_long_term and not self.config.has_long_term:
            reason = "this model has no long-term memory; memoryllm is what it can do"
            raise ConfigError("system", value=self.name, reason=reason)

    _needs_long_term = True

    @property
    def config(self) -> MemoryConfig:
        """Of the model's memories."""
        return self.shared.mplus.memory_config

    @property
    def chunk_tokens(self) -> int:
        """See ``System.chunk_tokens``."""
        return self.config.chunk_tokens

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``; with what decides what is found of a long-term memory, and the
        rows that every memory begins with where there are some."""
        long_term = self._long_term if self._needs_long_term else {}
        return {**super().identity, **long_term, **self._begun_with}

    @property
    def _long_term(self) -> Mapping[str, Any]:
        """How its rows are kept, and by which rules spans are chosen.

        Rows as computed, and no rule, go without saying: results of earlier releases were of no
        others.
        """
        rows, rule = self.config.rows, self.shared.mplus.weights.superseding
        kept = {} if rows == "exact" else {"rows": rows}
        replacing = {} if rule is None else {"superseding": rule.tolist()}
        rules = {
            "neighbours": self.config.retrieves_neighbours,
            "sharpens": self.config.sharpens_spans,
        }
        return {**kept, **replacing, **{name: True for name, does in rules.items() if does}}

    @cached_property
    def _begun_with(self) -> Mapping[str, str]:
        rows = self.shared.mplus.pristine.short_term
        return {} if rows is None else {"pristine": digest(self.config, {"short_term": rows})}

    def open(self, seed: int) -> MemorySession:
        """See ``System.open``; the seed decides which rows are dropped."""
        return MemorySession(self.shared, self.shared.mplus.new_memory(seed))

    def load(self, path: Path) -> MemorySession:
        """See ``Loads.load``; a memory without its long-term part is a MemoryLLM's."""
        memory = Memory.load(path, self.shared.mplus)
        if memory.config.has_long_term != self._needs_long_term:
            which = "with" if memory.config.has_long_term else "without"
            reason = f"it is a memory {which} a long-term part"
            raise SessionMismatchError(path, system=self.name, reason=reason)
        return MemorySession(self.shared, memory)

    @property
    def span_tokens(self) -> int:
        """See ``Retrieves.span_tokens``; where layers retrieve single rows, a whole chunk's."""
        return self._rows_together * self.config.chunk_tokens // self.config.tokens_per_write

    @property
    def spans_retrieved(self) -> int:
        """See ``Retrieves.spans_retrieved``; of chunks as many as have so many rows."""
        return self.config.retrieved_tokens // self._rows_together

    @property
    def _rows_together(self) -> int:
        config = self.config
        return config.span_rows if config.retrieves_spans else config.tokens_per_write

    def survival(self, tokens: float) -> float:
        """Chance that a row is still in the short-term pool (2402.04624, 3.1.3).

        Every write of a chunk drops K of N rows at random, so a row survives w writes with the
        chance (1 - K/N) ** w.
        """
        kept = 1 - self.config.tokens_per_write / self.config.short_term_tokens
        return float(kept ** (tokens / self.config.chunk_tokens))


class MemoryLLMSystem(MPlusSystem):
    """MemoryLLM (2402.04624): what is dropped is forgotten."""

    registered = "memoryllm"
    called = "MemoryLLM"
    leader = "mplus"
    _needs_long_term = False

    def open(self, seed: int) -> MemorySession:
        """See ``System.open``."""
        memory = self.shared.mplus.new_memory(seed).short_term_only()
        return MemorySession(self.shared, memory)

    def follow(self, session: Session) -> MemorySession:
        """See ``Follows.follow``."""
        assert isinstance(session, MemorySession)
        return MemorySession(self.shared, session.memory.short_term_only())
