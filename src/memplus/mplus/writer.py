"""Writing text into memories: chunks, tails, batches, and what an interruption leaves.

Stands on the core and the memory's rules; the facade calls it.

Shapes: B batch, T chunk tokens, L layers, c dropped rows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memplus.errors import EmptyTextError, TailError, UsageError
from memplus.memory.guards import holding, writing
from memplus.memory.records import NewRows, Passage, WriteRecord
from memplus.memory.state import Memory
from memplus.memory.undoing import uninterrupted
from memplus.mplus.arguments import check_memories, check_memory
from memplus.mplus.core import Core
from memplus.passes.finite import require_finite

__all__ = ["Job", "Receipt", "Text", "Writer"]

Text = str | Sequence[int] | Tensor
"""A text, or its token ids."""


@dataclass(frozen=True)
class Receipt:
    """What one ``write`` did."""

    source: str
    tokens: int
    """Tokens of the text."""
    chunks: int
    """Chunks written, those of an older tail included."""
    waiting: int
    """Tokens left in the tail."""


@dataclass
class Job:
    """What is still to be written into one memory."""

    memory: Memory
    source: str
    tokens: list[int]
    """The tail and the text, not yet written."""
    given: int
    """Tokens of the text itself."""
    chunks: int = 0
    text: str = ""
    """The text, for a memory that keeps texts."""
    ends: Sequence[int] | None = None
    """Where each of its tokens ends in it; None: texts are decoded from tokens."""
    waited: int = 0
    """Tokens of the tail among ``tokens``."""
    waited_text: str = ""
    done: int = 0
    """Tokens of the text already written."""
    flush: bool = False
    """Whether what fills no chunk is written too."""

    def text_of(self, count: int, decode: Callable[[list[int]], str]) -> str:
        """The text of the next ``count`` tokens, which hold all of the tail."""
        if not self.memory.keeps_text:
            return ""
        new = count - self.waited
        if self.ends is None:
            return self.waited_text + decode(self.tokens[self.waited : count])
        start = self.ends[self.done - 1] if self.done else 0
        stop = self.ends[self.done + new - 1] if new else start
        return self.waited_text + self.text[start:stop]

    @property
    def receipt(self) -> Receipt:
        """What was done, once it is."""
        return Receipt(self.source, self.given, self.chunks, len(self.memory.tail))

    def cut(self, count: int) -> None:
        """The next ``count`` tokens are written."""
        del self.tokens[:count]
        self.done += count - self.waited
        self.waited, self.waited_text = 0, ""


class Writer:
    """Writes into the memories of one model."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @property
    def size(self) -> int:
        """Tokens of a chunk."""
        return self.core.memory_config.chunk_tokens

    def write(
        self,
        memories: Sequence[Memory],
        texts: Sequence[Text],
        *,
        source: str | Sequence[str] = "",
        flush: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Receipt]:
        """See ``MPlus.write``."""
        check_memories(memories, texts)
        if isinstance(texts, bytes | str) or not isinstance(texts, Collection):
            raise UsageError("A list of memories takes a list of texts, one for each.")
        sources = _source_names(source, len(memories))
        if not len(memories) == len(texts) == len(sources):
            raise UsageError(
                f"{len(memories)} memories, {len(texts)} texts, {len(sources)} sources were given."
            )
        if len({id(memory) for memory in memories}) != len(memories):
            raise UsageError("A batch names the same memory twice.")
        with writing(memories):
            jobs = [
                self.plan(memory, text, name, flush=flush)
                for memory, text, name in zip(memories, texts, sources, strict=True)
            ]
            with _committing(memories):
                self._run(jobs, progress=progress)
            return [job.receipt for job in jobs]

    def chunk(self, memory: Memory, input_ids: Tensor, drop: Tensor | None) -> None:
        """Write exactly one chunk; see ``MPlus.write_chunk``."""
        ids = input_ids.to(self.core.device)
        self.core.check_ids(ids[0].tolist())
        self.core.check_chunk(ids.shape[1])
        with writing([memory]):
            self.core.check_owner(memory)
            if memory.tail:
                raise TailError(waiting=len(memory.tail))
            self._check_writes(memory, 1)
            with _committing([memory]):
                self._write_batch([Job(memory, "", ids[0].tolist(), 0)], ids, drop)

    def replay(self, memory: Memory, passages: Sequence[tuple[str, Passage]]) -> None:
        """See ``MPlus.replay``."""
        check_memory(memory)
        with writing([memory]):
            self.core.check_owner(memory)
            with _committing([memory]):
                for source, said in passages:
                    job = Job(memory, source, list(said.tokens), 0, waited_text=said.text)
                    job.waited = len(job.tokens)
                    ids = torch.tensor([job.tokens], device=self.core.device)
                    self._write_batch([job], ids, None)

    def plan(self, memory: Memory, text: Text, source: str, *, flush: bool) -> Job:
        """What writing a text takes; nothing is written yet.

        Raises:
            EmptyTextError, UsageError, BudgetError, MemoryMismatchError: as ``MPlus.write``.
        """
        self.core.check_owner(memory)
        memory.check_source(source)
        ends: Sequence[int] | None = None
        if isinstance(text, str):
            if not text.strip():
                raise EmptyTextError()
            tokens, ends = self.core.encode_with_ends(text)
        else:
            tokens = _token_ids(text)
        if not tokens:
            raise EmptyTextError()
        self.core.check_ids(tokens)
        whole = text if isinstance(text, str) else ""
        job = Job(memory, source, tokens, len(tokens), text=whole, ends=ends, flush=flush)
        self._check_writes(memory, self._planned(job))
        return job

    def _planned(self, job: Job) -> int:
        """How many writes the job will take."""
        waiting, tokens = len(job.memory.tail), len(job.tokens)
        first = int(waiting > 0 and job.memory.tail_source != job.source)
        left = tokens if first else waiting + tokens
        return first + left // self.size + int(job.flush and left % self.size > 0)

    def _check_writes(self, memory: Memory, writes: int) -> None:
        if memory.max_bytes is not None and writes:
            memory.check_budget(writes, self.core.row_bytes(memory.rows))

    def _flush(self, job: Job) -> None:
        """An older source's tail becomes a short chunk of its own."""
        memory = job.memory
        ids = torch.tensor([memory.tail], device=self.core.device)
        old = Job(memory, memory.tail_source, list(memory.tail), 0, waited=len(memory.tail))
        old.waited_text = memory.tail_text
        self._write_batch([old], ids, None)
        job.chunks += old.chunks

    def _run(self, jobs: list[Job], *, progress: Callable[[int, int], None] | None) -> None:
        done, total = 0, sum(job.given for job in jobs)
        for job in jobs:
            self.begin(job)
        while ready := [job for job in jobs if self.next(job)]:
            group = self.alike(ready)
            done += self.next(group[0]) * len(group)
            self.advance(group)
            if progress is not None:
                progress(min(done, total), total)
        for job in jobs:
            self.end(job)

    # Chunk by chunk, for those who do other things between; they hold ``guards.writing`` ---------

    def begin(self, job: Job) -> None:
        """Take over the tail of the same source; another's becomes a chunk of its own."""
        if job.memory.tail and job.memory.tail_source != job.source:
            self._flush(job)
        with holding([job.memory]):
            job.tokens = [*job.memory.tail, *job.tokens]
            job.waited, job.waited_text = len(job.memory.tail), job.memory.tail_text
            job.memory.tail_source = job.source

    def advance(self, group: list[Job]) -> None:
        """Write the next chunk of each of some jobs that are alike, in one pass."""
        length = self.next(group[0])
        ids = [job.tokens[:length] for job in group]
        self._write_batch(group, torch.tensor(ids, device=self.core.device), None)
        for job in group:
            job.cut(length)

    def end(self, job: Job) -> None:
        """Leave what fills no chunk as the tail."""
        with holding([job.memory]):
            if job.tokens:
                job.memory.tail_text = job.text_of(len(job.tokens), self.core.decode)
            job.memory.tail = job.tokens
            # A tail is part of what a read sees, so a cache from before it is stale.
            job.memory.version += bool(job.tokens)

    def next(self, job: Job) -> int:
        """Tokens of the job's next chunk; 0 when it is done."""
        if len(job.tokens) >= self.size:
            return self.size
        return len(job.tokens) if job.flush else 0

    def alike(self, ready: list[Job]) -> list[Job]:
        """Jobs whose next chunks can share a pass with the first: same length, same context."""

        def shape(job: Job) -> tuple[int, int, bool]:
            recent = job.memory.recent(self.core.memory_config.tokens_per_write)
            rows = 0 if recent is None else int(recent.shape[1])
            return self.next(job), rows, self.core.tiles(job.memory)

        first = shape(ready[0])
        return [job for job in ready if shape(job) == first]

    # A memory outlives the caller's inference mode.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _write_batch(self, jobs: list[Job], ids: Tensor, drop: Tensor | None) -> None:
        """One pass for a batch of chunks, then each memory's update, whole or not at all."""
        core = self.core
        memories = [job.memory for job in jobs]
        tiled = core.tiles(memories[0])
        # Nor does it depend on the caller's autocast.
        with torch.autocast(core.device.type, enabled=False):
            made = core.write_pass(ids, core.context(memories), first_of_tiled=tiled)
            for values in (made.last_hidden, made.probe):
                require_finite(core.name, "what it makes of a text", values)
            for job, hidden in zip(jobs, made.rows, strict=True):
                rows = core.new_rows(hidden)
                with holding([job.memory]), uninterrupted():
                    self._take_in(job, rows, ids.shape[1], drop)
                job.chunks += 1

    def _take_in(self, job: Job, rows: NewRows, tokens: int, drop: Tensor | None) -> None:
        memory = job.memory
        start = memory.source_tokens.get(job.source, 0)
        record = WriteRecord(len(memory.writes) + 1, job.source, start, tokens)
        said = Passage(tuple(job.tokens[:tokens]), job.text_of(tokens, self.core.decode))
        memory.take_in(rows, record, drop, said)
        memory.source_tokens[job.source] = start + tokens
        # A tail is shorter than a chunk, so every write takes in all of it.
        memory.tail, memory.tail_text = [], ""


def _source_names(source: Any, count: int) -> list[str]:
    """One name for all of so many texts, or the name of each."""
    names = [source] * count if isinstance(source, str) else source
    for name in names if isinstance(names, list | tuple) else [names]:
        if not isinstance(name, str):
            raise UsageError(f"The name of a source is text, not {type(name).__name__}.")
    return list(names)


def _token_ids(text: object) -> list[int]:
    """Token ids as they were given for a text.

    Raises:
        UsageError: they are something else; with what to give instead.
    """
    if isinstance(text, os.PathLike):
        raise UsageError(f"A path is no text; give what the file holds: {str(text)!r}.")
    if isinstance(text, bytes | bytearray):
        raise UsageError("Bytes are no text; decode them first: data.decode().")
    if isinstance(text, Tensor):
        text = text.flatten().tolist()
    if not isinstance(text, Sequence):
        raise UsageError(f"Give a text or its token ids, not {type(text).__name__}.")
    if any(isinstance(token, bool) or not isinstance(token, int) for token in text):
        raise UsageError("One memory takes one text, or the token ids of one: a list of integers.")
    return list(text)


@contextlib.contextmanager
def _committing(memories: Sequence[Memory]) -> Iterator[None]:
    """Whatever way a write ends, what it wrote is made to last where a memory is kept."""
    for memory in memories:
        memory.before_write()
    with contextlib.ExitStack() as stack:
        for memory in memories:
            stack.callback(memory.commit)
        yield
