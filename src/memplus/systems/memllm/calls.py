"""MemLLM's calls on a stock decoder: a sentence becomes triples, a prompt asks and is answered.

Each adapter stands alone on the plain decoder. A text is tokenised in the pieces in which the
adapters were trained: ``({``, what stands in a call, ``})``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf

from torch import Tensor

from memplus.backbone.lora import Lora
from memplus.errors import PositionsError
from memplus.mplus.core import Core
from memplus.systems.memllm.grammar import (
    ARROW,
    END,
    START,
    parse_write,
    parts_of_write,
    spaced_dashes,
    told_dashes,
    writable,
    write_prompt,
)
from memplus.systems.memllm.late_stopping import Divisor, LateStopping
from memplus.systems.triples.decoding import (
    Choose,
    Continuation,
    Decoding,
    decode,
    greedy,
    never,
)
from memplus.systems.triples.parting import parted
from memplus.systems.triples.rows import Triple
from memplus.systems.triples.side_by_side import Job, Outcome, side_by_side

__all__ = ["BEFORE_ANSWER", "CALL_TOKENS", "Generator", "Reading", "Writing", "question_prompt"]

CALL_TOKENS = 128
"""Most tokens of a call (2404.11672, appendix A)."""
BEFORE_ANSWER = " "
"""Between a question, or what a call behind it found, and the answer."""


def question_prompt(question: str) -> str:
    """A question as the read adapter was trained to answer it."""
    return f"Question: {' '.join(question.split())}\nAnswer:"


@dataclass(frozen=True)
class Writing:
    """What a write call said."""

    triples: tuple[Triple, ...]
    text: str
    """All that was generated, cut where late stopping cut it."""
    parses: bool
    """Whether it is a write call that is whole."""
    dropped: int = 0
    """Triples that it says and that cannot be kept: without three fields, with a field that is
    empty or breaks the grammar, or in a call that never ends."""


class Generator:
    """One adapter on the decoder, and the tokens of the grammar.

    Args:
        core: the model; its memory takes no part.
        lora: the adapter.
    """

    def __init__(self, core: Core, lora: Lora | None) -> None:
        self.core = core
        self.lora = lora
        end = core.tokenizer.eos_token_id
        self.ends: set[int] = set() if end is None else {int(end)}

    @cached_property
    def starts(self) -> list[int]:
        """Tokens in which ``({`` stands; where there is none, the ones that it begins with."""
        ids = range(self.core.vocabulary)
        found = [one for one in ids if START in self.core.decode([one])]
        return found or self.core.encode(START)[:1]

    @cached_property
    def completing(self) -> list[int]:
        """Tokens that make ``({`` of a ``(`` before them."""
        ids = range(self.core.vocabulary)
        return [one for one in ids if self.core.decode([one]).startswith(START[1:])]

    def no_call(self, text: Continuation, tokens: float) -> Choose:
        """Greedily, but that no call begins in the next tokens of a text.

        Args:
            text: is gone on with.
            tokens: so many; a call that begins in a later one may be made.
        """
        start = len(text)

        def chosen(scores: Tensor) -> int | None:
            place = len(text) - start
            barred = self.starts if place < tokens else []
            # A vocabulary with ``({`` has ``(`` and ``{`` as well.
            if place <= tokens and text.text(len(text) - 1).endswith(START[0]):
                barred = [*barred, *self.completing]
            return never(barred)(scores)

        return chosen

    @cached_property
    def closing(self) -> int | None:
        """The token ``})``; None where the tokenizer has no such one."""
        ids = self.core.encode(END)
        return ids[0] if len(ids) == 1 else None

    def begun(self, pieces: Sequence[str]) -> Continuation:
        """A text of pieces, each tokenised by itself."""
        text = Continuation(self.core, self.lora)
        for one in pieces:
            text.extend(text.encode(one))
        return text

    def room(self, text: Continuation, most: int) -> int:
        """Tokens that may still be generated."""
        return max(0, min(most, self.core.positions - len(text)))

    def check_room(self, text: Continuation) -> None:
        """Refuse a text behind which nothing can be said.

        Raises:
            PositionsError: it leaves no position for a token.
        """
        needed, available = len(text) + 1, self.core.positions
        if needed > available:
            raise PositionsError(needed=needed, available=available)

    def write(
        self, told: Iterable[tuple[str, str]], divisor: Divisor | None, patience: int
    ) -> Iterator[Outcome[Writing]]:
        """The triples of sentences, which are read side by side.

        Args:
            told: the text before each, as much as is to be seen, and the sentence.
            divisor: of late stopping; None: a call ends where it ends.
            patience: of late stopping.
        """
        jobs = (self._writing(*one, divisor, patience) for one in told)
        return side_by_side(self.core, self.lora, jobs)

    def _writing(
        self, before: str, sentence: str, divisor: Divisor | None, patience: int
    ) -> Job[Writing]:
        """Write a sentence, or the parts of one that is too long, which nothing stands before."""
        told = [(before, sentence)]
        if not self._fits(before, sentence):
            told = [("", part) for part in parted(sentence, partial(self._fits, ""))]
        written = []
        for one in told:
            written.append((yield from self._written(*one, divisor, patience)))
        return Writing(
            tuple(dict.fromkeys(triple for one in written for triple in one.triples)),
            "".join(one.text for one in written),
            all(one.parses for one in written),
            sum(one.dropped for one in written),
        )

    def _put(self, before: str, sentence: str) -> Continuation:
        """A sentence as it is put to the model."""
        return self.begun([write_prompt(spaced_dashes(before), spaced_dashes(sentence))])

    def _fits(self, before: str, sentence: str) -> bool:
        """Whether a sentence leaves room for its call."""
        text, positions = self._put(before, sentence), self.core.positions
        return len(text) + min(CALL_TOKENS, positions // 2) <= positions

    def _written(
        self, before: str, sentence: str, divisor: Divisor | None, patience: int
    ) -> Job[Writing]:
        text = self._put(before, sentence)
        self.check_room(text)
        limit = self.room(text, CALL_TOKENS)
        if divisor is None or self.closing is None:
            said = yield Decoding(text, limit, stops=(END,), ends=self.ends)
            generated, whole = said.text, said.stop == END
        else:
            late = LateStopping(self.closing, len(text), patience, divisor)
            ends = {*self.ends, self.closing}
            yield Decoding(text, limit, ends=ends, choose=_until_settled(late, limit))
            generated, whole = self.core.decode(late.kept), bool(late.marks)
        is_call = generated.strip().startswith(START) and ARROW in generated
        parses = whole and is_call
        found = parse_write(generated) if parses else []
        kept = [one for one in found if writable(one)]
        told = sentence, before
        triples = tuple(Triple(*(told_dashes(one, told) for one in triple)) for triple in kept)
        parts = parts_of_write(generated) if is_call else 0
        # One that holds an arrow is cut in two: a half that can be kept must not count as less.
        return Writing(triples, generated, parses, max(0, parts - len(kept)))


def _until_settled(late: LateStopping, limit: int) -> Choose:
    """Late stopping's choice, up to where no later mark can be better."""

    def chosen(scores: Tensor) -> int | None:
        return None if late.settled(limit) else late.choose(scores)

    return chosen


@dataclass
class Reading:
    """A ``Reader`` on the decoder: goes on with a text, and with calls in it.

    Keeps one continuation and takes back what a new context does not share with it, so that
    nothing is read twice.
    """

    generator: Generator
    most_tokens: int
    """Of text, calls not counted."""
    stops: tuple[str, ...] = ()
    """Texts that end the generation."""
    may_call: bool = True
    """False: ``({`` is forbidden everywhere."""
    _text: Continuation | None = field(default=None, repr=False)
    _has_said: bool = field(default=False, repr=False)
    """Whether there is text, which may end where there is no room for more."""

    @property
    def behind(self) -> Continuation:
        """What was read last, to be gone on with."""
        return self._at([]) if self._text is None else self._text

    def text(self, context: Sequence[str], *, may_call: bool) -> str:
        """See ``Reader.text``.

        Raises:
            PositionsError: there is no room for any text at all.
        """
        text = self._at(context)
        if not self._has_said:
            self.generator.check_room(text)
        limit = self.generator.room(text, self.most_tokens)
        said = decode(
            text,
            limit=limit,
            stops=(START, *self.stops),
            ends=self.generator.ends,
            choose=self._choose(text, may_call=may_call),
        )
        called = len(text.encode(START)) if said.stop == START else 0
        self.most_tokens -= len(said.ids) - called
        self._has_said = self._has_said or len(said.ids) > called
        return said.text

    def _choose(self, text: Continuation, *, may_call: bool) -> Choose:
        if not self.may_call:
            return self.generator.no_call(text, inf)
        return greedy if may_call else self.generator.no_call(text, 1)

    def call(self, context: Sequence[str]) -> str:
        """See ``Reader.call``."""
        text = self._at(context)
        limit = self.generator.room(text, CALL_TOKENS)
        ends = self.generator.ends
        return decode(text, limit=limit, stops=(ARROW,), ends=ends).text

    def ids_of(self, context: Sequence[str]) -> list[int]:
        """The tokens of a context."""
        return self.generator.begun(context).ids

    def _at(self, context: Sequence[str]) -> Continuation:
        """The continuation behind a context."""
        wanted = self.ids_of(context)
        if self._text is None:
            self._text = self.generator.begun(())
        text, same = self._text, 0
        while same < min(len(text), len(wanted)) and text.ids[same] == wanted[same]:
            same += 1
        text.rewind(same)
        text.extend(wanted[same:])
        return text
