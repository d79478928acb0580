"""Asking memories: questions in the model's template, answers with what they stand on.

Stands on the core and the reader; the facade calls it.

Shapes: B questions asked together, T tokens of the longest prompt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from memplus.errors import ConfigError, EmptyTextError, UsageError
from memplus.memory.state import Memory
from memplus.mplus.arguments import Memories, check_count, check_memories, check_memory, per_row
from memplus.mplus.core import Core
from memplus.mplus.encoding import encode_within
from memplus.mplus.evidence import Evidence, Retrieved, Seen, Watch, ranked, retrieved_writes
from memplus.mplus.reader import Reader
from memplus.mplus.streaming import Pieces, Stream, until_stop
from memplus.passes.finite import FiniteScores
from memplus.passes.memory_prefix import MemoryPrefix

__all__ = ["Answer", "Answers", "Asker", "padded"]

_TOGETHER = 32
"""Most questions read in one batch."""


@dataclass(frozen=True)
class Answer:
    """An answer and what it stands on."""

    text: str
    evidence: list[Evidence] = field(default_factory=list)
    """Writes, or spans where these are retrieved, and the tail, by attention paid, most first."""
    seconds: float = 0.0
    """Of its batch, divided by the questions in it."""
    confidence: float = 0.0
    """Most attention, 0 to 1, that any head paid to one write (or span) as the answer began, beyond
    what it pays whatever is asked; 0 where nothing was written."""
    withheld: str = ""
    """The answer that was not confident enough to be given; ``text`` is then the abstention."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Answers:
    """Answers to several questions that one memory was asked together."""

    texts: list[str]
    """Up to the prompt's stops, as ``Answer.text``."""
    generated: list[str]
    """All that was generated."""
    prefix: MemoryPrefix
    """What every question retrieved, by its place in the batch."""


class Asker:
    """Puts questions to memories of one model."""

    def __init__(self, core: Core, reader: Reader) -> None:
        self.core = core
        self.reader = reader

    def encode(self, question: str) -> list[int]:
        """Token ids of a question in the model's template.

        Raises:
            EmptyTextError, BrokenTextError, TokenizerMissingError.
        """
        if not isinstance(question, str):
            raise UsageError(f"A question is text, not {type(question).__name__}.")
        if not question.strip():
            raise EmptyTextError("The question")
        return encode_within(self.core.tokenizer, self.core.prompt.template, question.strip())

    def ask(
        self,
        memory: Memories,
        questions: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        min_confidence: float | None = None,
        stream: Stream | None = None,
        watched: Callable[[Watch, int], None] | None = None,
    ) -> list[Answer]:
        """Answers in the order of the questions; see ``MPlus.ask``.

        ``watched`` is called for every question, in their order, with what was seen of its batch
        and its row there.
        """
        least = self.core.prompt.min_confidence if min_confidence is None else min_confidence
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 1:
            raise ConfigError("min_confidence", value=least, reason="it is not in 0 to 1")
        if memory is not None:
            check_memories(memory, questions)
        _require_list(questions)
        if stream is not None and len(questions) != 1:
            raise UsageError("Only the answer to a single question is streamed.")
        memories = _per_question(memory, questions)
        prompts = [self.encode(question) for question in questions]
        count = self.longest(max_new_tokens)
        answers: list[Answer] = []
        for start in range(0, len(prompts), _TOGETHER):
            batch = slice(start, start + _TOGETHER)
            found: dict[int, tuple[Answer, Watch, int]] = {}
            with self.core.reading(memories[batch]):
                for group in self._alike(memories[batch], prompts[batch]):
                    places = [start + one for one in group]
                    watch = Watch([memories[place] for place in places])
                    own = [prompts[place] for place in places]
                    made = self._batch(watch, own, count, least, stream)
                    seen = zip(places, made, strict=True)
                    found |= {at: (one, watch, row) for row, (at, one) in enumerate(seen)}
            for place in sorted(found):
                answer, watch, row = found[place]
                answers.append(answer)
                if watched is not None:
                    watched(watch, row)
        return answers

    def _alike(self, memories: Sequence[Memory], prompts: Sequence[list[int]]) -> list[list[int]]:
        """Places of the questions that are read together, so that each is answered as alone.

        A pass has one set of frequencies; where these depend on the length, questions are read
        with those for which the same ones hold.
        """
        rope = self.core.backbone.rope
        groups: dict[tuple[int, int], list[int]] = {}
        for place, (memory, prompt) in enumerate(zip(memories, prompts, strict=True)):
            key = 0, 0
            if rope.changing:
                start = self.core.prefix_length(memory)
                used = start + len(memory.tail) + len(prompt)
                # The stock code begins anew where a text without a prefix grows past a switch.
                key = rope.regime(used), 0 if start else used
            groups.setdefault(key, []).append(place)
        return list(groups.values())

    def longest(self, max_new_tokens: int | None) -> int:
        """Most tokens of an answer: as many as are given, or the prompt config's.

        Raises:
            ConfigError: it is no whole number of at least 1.
        """
        count = self.core.prompt.max_new_tokens if max_new_tokens is None else max_new_tokens
        check_count("max_new_tokens", count)
        return count

    @torch.no_grad()
    def _batch(
        self,
        watch: Watch,
        prompts: Sequence[list[int]],
        count: int,
        least: float,
        stream: Stream | None,
    ) -> list[Answer]:
        started, memories = time.perf_counter(), watch.memories
        options: dict[str, object] = {
            "max_new_tokens": count,
            "logits_processor": [FiniteScores(self.core.name)],
        }
        if stream is not None:
            # Attention was measured in the prefill, so that it is known before the first token.
            options["streamer"] = self.pieces(stream, lambda: watch.sharpest(0) >= least)
        ids, mask = padded(prompts)
        output = self.reader.generate(ids, memories, mask, options, watch)
        texts = [self.until_stop(text) for text in self._decoded(output[:, ids.shape[1] :])]
        seconds = (time.perf_counter() - started) / len(prompts)
        answers = []
        for row, (memory, text) in enumerate(zip(memories, texts, strict=True)):
            confidence = watch.sharpest(row)
            withheld = "" if confidence >= least else text
            given = self.core.prompt.abstention if confidence < least else text
            evidence = ranked(memory, watch.paid[row], self.core.decode, watch.parts[row])
            answers.append(Answer(given, evidence, seconds, confidence, withheld))
        if stream is not None and watch.sharpest(0) < least:
            stream(answers[0].text)
        return answers

    @torch.no_grad()
    def ask_together(
        self, memory: Memory, questions: Sequence[str], max_new_tokens: int | None = None
    ) -> Answers:
        """Put several questions to one memory in one batch, without evidence or threshold.

        Raises:
            EmptyTextError, PositionsError, TokenizerMissingError, ConfigError.
        """
        ids, mask = padded([self.encode(question) for question in questions])
        seen = Seen()
        options = {
            "max_new_tokens": self.longest(max_new_tokens),
            "logits_processor": [FiniteScores(self.core.name)],
        }
        with self.core.reading(memory):
            output = self.reader.generate(ids, memory, mask, options, seen)
        if not isinstance(seen.prefix, MemoryPrefix):
            raise TypeError("a read of a memory has no prefix of it")
        generated = self._decoded(output[:, ids.shape[1] :])
        return Answers([self.until_stop(text) for text in generated], generated, seen.prefix)

    def retrieve(self, memory: Memory, question: str) -> list[Retrieved]:
        """See ``MPlus.retrieve``."""
        check_memory(memory, question)
        ids = torch.tensor([self.encode(question)], device=self.core.device)
        with self.core.reading(memory):
            return retrieved_writes(memory, self.reader.prefill(ids, memory))

    def _decoded(self, ids: Tensor) -> list[str]:
        found: list[str] = self.core.tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)
        return found

    def until_stop(self, text: str) -> str:
        """What was generated, up to where the prompt's config says that an answer ends."""
        return until_stop(text, self.core.prompt.stop)

    def pieces(self, stream: Stream, wanted: Callable[[], bool] = lambda: True) -> Pieces:
        """A streamer that hands on an answer as ``until_stop`` gives it.

        Args:
            stream: is handed the pieces.
            wanted: whether anything is handed on; asked when the first token is there.
        """
        return Pieces(self._text, self.core.prompt.stop, stream, wanted)

    def _text(self, ids: list[int]) -> str:
        return self._decoded(torch.tensor([ids], dtype=torch.int64))[0]


def _require_list(questions: object) -> None:
    if isinstance(questions, bytes) or not isinstance(questions, Sequence):
        raise UsageError(f"A question is text, not {type(questions).__name__}.")


def _per_question(memory: Memories, questions: Sequence[str]) -> list[Memory]:
    if memory is None:
        raise UsageError("A question needs a memory to be put to, such as model.new_memory().")
    return per_row(memory, len(questions), "questions")


def padded(prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts, [B, T] each, padded on the left."""
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
    return ids, mask
