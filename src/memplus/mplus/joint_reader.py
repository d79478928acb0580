"""Reads of different memories that go on together, token by token, each on its own.

Where ``Reader`` reads a batch from its beginning to its end, here a read may begin and end at any
pass. A read sees its memory as it was when it began, whatever is written meanwhile: it reads a
fork, which shares all rows until the next write.

Shapes: t tokens of a piece, V vocabulary, R retriever width.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from memplus.backbone.session import running
from memplus.backbone.stock import greedy_rules
from memplus.errors import UsageError
from memplus.memory.state import Memory
from memplus.mplus.arguments import check_count, check_frequencies, check_positions
from memplus.mplus.core import Core
from memplus.mplus.evidence import Evidence, Watch, ranked
from memplus.passes.joint import JointSession, OpenRead, ReadPiece
from memplus.passes.joint_queries import piece_queries, question_read
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.prompt import asked_by_last, assemble
from memplus.passes.read import Prefix

__all__ = ["JointReader", "MemoryRead"]


class MemoryRead(OpenRead):
    """A read of one memory by one prompt, or of none.

    Attributes:
        seen: the memory as it was when the read began; None without one.
        watched: the attention measured at the end of the prompt, where it was asked for.
    """

    seen: Memory | None = None
    watched: Watch | None = None
    question: OpenRead | None = None
    """What of the prompt asks for spans, while it has not been read; ``JointReader.find`` does."""
    queries: tuple[Tensor, ...] = ()
    """[t, R] what the pieces read so far ask for."""

    def forget_rows(self) -> None:
        """Keep no rows for what was measured, once the prompt was read."""
        if self.watched is not None and not self.unread:
            self.watched.prefix = Prefix()


class JointReader:
    """Reads with the memories of one model. One thread at a time."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._forks: weakref.WeakKeyDictionary[Memory, Memory] = weakref.WeakKeyDictionary()
        self._kept: weakref.WeakSet[Memory] = weakref.WeakSet()

    @property
    def ends(self) -> frozenset[int]:
        """Ids of the tokens that end an answer."""
        found = greedy_rules(self.core.backbone.model.generation_config).eos_token_id
        ids = found if isinstance(found, list) else [] if found is None else [found]
        return frozenset(int(one) for one in ids)

    @torch.no_grad()
    def begin(
        self,
        memory: Memory | None,
        ids: Sequence[int],
        new_tokens: int,
        *,
        asking: int | None = None,
        watch: bool = False,
    ) -> MemoryRead:
        """A read of which no pass has read anything yet.

        Args:
            memory: that is read, as it is now; None: the stock model alone, without adapters.
            ids: token ids of the prompt.
            new_tokens: most tokens that will follow it.
            asking: how many last tokens of it ask the long-term memory; None: all.
            watch: whether attention is measured as its end is read.

        Raises:
            UsageError: no ids, ids outside the vocabulary, or a text that grows past a length at
                which the model's frequencies change.
            ConfigError: less than one new token, or less than one that asks.
            PositionsError: the prompt and the new tokens do not fit beside the memory.
            MemoryMismatchError: the memory is another model's.
        """
        core = self.core
        check_count("new_tokens", new_tokens)
        if not ids:
            raise UsageError("The prompt holds no token.")
        core.check_ids(ids)
        seen = None if memory is None else self._as_it_is(memory)
        prompt = assemble(torch.tensor([list(ids)]), None, [[] if seen is None else seen.tail])
        if asking is not None:
            check_count("asking", asking)
            prompt = asked_by_last(prompt, asking)
        asked = prompt.asked.to(core.device)
        prefix = Prefix()
        if seen is not None:
            prefix = MemoryPrefix(core.backbone, core.weights, [seen], asked)
        first = int(prompt.asked[0].int().argmax())
        read = MemoryRead(prefix, prompt.input_ids[0].tolist(), first)
        read.whole = core.backbone.rope.changing
        check_positions(core.backbone.rope, read.start, len(read.prompt) + new_tokens)
        check_frequencies(
            core.backbone.rope, read.start, len(read.prompt), len(read.prompt) + new_tokens - 1
        )
        if seen is not None and isinstance(prefix, MemoryPrefix):
            read.seen = seen
            read.whole |= bool(seen.long_term_rows) and not core.memory_config.retrieves_spans
            if watch:
                read.watch = read.watched = Watch([seen]).on(prefix)
            if core.memory_config.retrieves_spans and seen.long_term is not None:
                own = prompt.input_ids[prompt.asked].tolist()
                read.question = question_read(core.backbone, core.weights, own)
        return read

    @torch.no_grad()
    def find(self, pieces: Sequence[tuple[MemoryRead, int]]) -> None:
        """One pass over what several prompts ask for; a read may begin when its question is None.

        Args:
            pieces: reads with a question, and how many tokens of it are read now at most.
        """
        core = self.core
        questions: list[ReadPiece] = []
        for read, most in pieces:
            assert read.question is not None
            # Frequencies that depend on the length are those of the whole question.
            count = len(read.question.prompt) if core.backbone.rope.changing else most
            questions.append(read.question.piece(count))
        for some in self._alike(questions):
            found = piece_queries(core.backbone, core.weights, some)
            for piece, queries in zip(some, found, strict=True):
                read = next(one for one, _ in pieces if one.question is piece.read)
                read.queries = (*read.queries, queries)
                if not piece.read.unread:
                    assert isinstance(read.prefix, MemoryPrefix)
                    read.prefix.retrieve_spans([torch.cat(read.queries)])
                    read.question, read.queries = None, ()

    def _alike(self, pieces: Sequence[ReadPiece]) -> list[list[ReadPiece]]:
        """Pieces by the frequencies that hold for them: those of a pass are one set."""
        rope = self.core.backbone.rope
        if not rope.changing:
            return [list(pieces)]
        groups: dict[int, list[ReadPiece]] = {}
        for piece in pieces:
            used = piece.read.start + piece.read.read + len(piece.ids)
            groups.setdefault(rope.regime(used), []).append(piece)
        return list(groups.values())

    def keep(self, memory: Memory) -> None:
        """Let reads that begin from here on see the memory as it is now, whatever is written.

        Raises:
            MemoryMismatchError: the memory is another model's.
        """
        self._as_it_is(memory)
        self._kept.add(memory)

    def let_go(self, memory: Memory) -> None:
        """Let reads see what was written since ``keep``."""
        self._kept.discard(memory)
        self._forks.pop(memory, None)

    def _as_it_is(self, memory: Memory) -> Memory:
        """The memory in its present state, or in that in which it is kept; no write changes it.

        One fork serves all reads of a state: its short-term keys are turned once.
        """
        with memory.guards.state:
            known = self._forks.get(memory)
            if known is not None and memory in self._kept:
                return known
            self.core.check_owner(memory)
            if known is None or known.version != memory.version:
                known = self._forks[memory] = memory.fork()
            return known

    @torch.no_grad()
    def step(self, pieces: Sequence[ReadPiece]) -> list[Tensor | None]:
        """One pass over the next tokens of several reads.

        Args:
            pieces: one of each read.

        Returns:
            For every piece the logits [V] after its last token, float32; None where more of the
            prompt is to come.
        """
        found: dict[int, Tensor | None] = {}
        groups = [[one for one in pieces if _plain(one.read) is plain] for plain in (False, True)]
        for some in (part for group in groups if group for part in self._alike(group)):
            rows = self._pass(some)
            found |= {id(piece): logits for piece, logits in zip(some, rows, strict=True)}
        for piece in pieces:  # once all have been read: what fails leaves no trace in any of them
            piece.read.advance(len(piece.ids))
            if isinstance(piece.read, MemoryRead):
                piece.read.forget_rows()
        return [found[id(piece)] for piece in pieces]

    def _pass(self, pieces: Sequence[ReadPiece]) -> list[Tensor | None]:
        backbone = self.core.backbone
        session = JointSession(backbone, pieces)
        done = [piece.read.read + len(piece.ids) >= len(piece.read.prompt) for piece in pieces]
        last = [place.stop - 1 for place, one in zip(session.places, done, strict=True) if one]
        arguments = session.arguments()
        with ExitStack() as stack:
            stack.enter_context(backbone.lock)
            if _plain(pieces[0].read):
                stack.enter_context(backbone.adapters.bypassed())
            stack.enter_context(running(backbone, session, backbone.adapters.reading))
            if last:
                kept = torch.tensor(last, device=backbone.device)
                logits = backbone.model(**arguments, logits_to_keep=kept).logits[0].float()
            else:
                backbone.decoder(**arguments)
        rows = iter(logits if last else ())
        return [next(rows) if one else None for one in done]

    def evidence(self, read: MemoryRead, memory: Memory) -> list[Evidence]:
        """What an answer stands on, once its prompt was read.

        Args:
            read: with attention measured.
            memory: the memory itself, which knows what its writes said.
        """
        if read.seen is None or read.watched is None:
            return []
        watch, seen = read.watched, read.seen
        # Texts are those of the memory now; after a rebuild its writes have other numbers.
        same = memory.writes[: len(seen.writes)] == seen.writes
        texts = memory.texts if same else seen.texts
        return ranked(seen, watch.paid[0], self.core.decode, watch.parts[0], texts=texts)


def _plain(read: OpenRead) -> bool:
    """Whether it is read by the stock model alone: its adapters have learned to read memories."""
    return isinstance(read, MemoryRead) and read.seen is None
