"""What MemLLM has read so far: its triples, and the sentence that has not ended yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Strict
from torch import Tensor

from memplus.errors import EmptyTextError, UnknownSourceError
from memplus.memory.checks import Count, Fields, Items, Text, require
from memplus.mplus.streaming import until_stop
from memplus.systems.memllm.calls import Reading, question_prompt
from memplus.systems.memllm.grammar import START, Query, write_prompt
from memplus.systems.memllm.reading import ReadLoop
from memplus.systems.memllm.tools import MemLLMOptions, Tools
from memplus.systems.protocol import ChatPrompt, Evidence, Reply, pieces_of
from memplus.systems.protocol import Text as ToldText
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import SharedSystem
from memplus.systems.triples.rows import Row
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.waiting import Waiting

__all__ = ["CallReply", "Counts", "MemLLMSession", "load_memllm"]

_ENDS = "waiting.ends"
_TEXT_TOKENS = 64
"""Most tokens of text of an answer (section 4.3)."""


@dataclass(frozen=True)
class Counts:
    """What became of what was told."""

    sentences: int = 0
    parsed: int = 0
    """Sentences of which the call is whole."""
    triples: int = 0
    """That were written, of the same sentence once."""


@dataclass(frozen=True)
class CallReply(Reply):
    """A reply, and how the memory was asked for it."""

    calls: int = 0
    """Read calls that were made."""
    parsed: int = 0
    """Of which something could be asked."""
    found: tuple[str, ...] = ()
    """What the last read that found something spliced in."""


_Place = Annotated[tuple[Text, Count], Strict(strict=False)]
"""A source and its tokens. JSON has it as a list."""


class _State(Fields):
    """A session without its tensors."""

    tokens: Count
    writes: Count
    counts: Items[Count]
    source: Text
    text: Text
    first: Count
    before: Items[Text]
    places: Items[_Place]


class MemLLMSession:
    """Triples that the model writes and asks for by calls.

    Args:
        system: whose session it is.
        tools: of the system.
        table: is written to by this session alone.
    """

    def __init__(
        self, system: SharedSystem[MemLLMOptions], tools: Tools, table: TripleTable
    ) -> None:
        self.system = system
        self.tools = tools
        self.table = table
        self.tokens = 0
        self.counts = Counts()
        self._waiting = Waiting()
        self._before: list[str] = []
        """Sentences of the waiting source that were read last."""
        self._places: dict[str, int] = {}
        """Tokens of each other source."""
        self._told: TripleTable | None = None
        """The table with what still waits; None: it has to be made."""

    @property
    def nbytes(self) -> int:
        """Bytes of triples, of what waits, and of the sentences before it."""
        names = sum(len(name.encode()) + 8 for name in self._places)
        before = sum(len(one.encode()) for one in self._before)
        return self.table.nbytes + self._waiting.nbytes + names + before

    # Writing ------------------------------------------------------------------------------------

    def write(self, text: ToldText, source: str = "") -> None:
        """Read a text on, sentence by sentence; one that has not ended waits.

        Raises:
            EmptyTextError: there is nothing to read.
        """
        pieces = [piece for piece in pieces_of(text) if piece]
        if not pieces:
            raise EmptyTextError()
        if source != self._waiting.source:
            self.flush()
            if self._waiting.next:
                self._places[self._waiting.source] = self._waiting.next
            self._waiting = Waiting(source, first=self._places.pop(source, 0))
            self._before = []
        for piece, ends in zip(pieces, self.system.shared.reference(pieces), strict=True):
            self._waiting.add(piece, ends)
            self.tokens += len(ends)
            self._read(all_of_it=False)

    def flush(self) -> None:
        """Read what waits, as if it had ended."""
        self._read(all_of_it=True)

    def _read(self, *, all_of_it: bool) -> None:
        self._told = None
        for sentence, place in self._waiting.take(all_of_it=all_of_it):
            written = self.tools.write(self._context(sentence), sentence)
            update, source = self.tools.options.update, self._waiting.source
            self.table.add(written.triples, source, place, update)
            counts = self.counts
            self.counts = Counts(
                counts.sentences + 1,
                counts.parsed + written.parses,
                counts.triples + len(written.triples),
            )
            keep = self.tools.options.context_sentences
            self._before = [*self._before, sentence][-keep:] if keep else []

    def _context(self, sentence: str) -> str:
        """The sentences before one, the oldest left out until the prompt is short enough."""
        core, options = self.tools.core, self.tools.options
        most = min(options.context_tokens, core.positions // 2)
        for first in range(len(self._before)):
            before = "".join(f"{one} " for one in self._before[first:])
            if len(core.encode(write_prompt(before, sentence))) <= most:
                return before
        return ""

    def forget(self, source: str) -> int:
        """Take away what only this source said, and what waits of it.

        Returns:
            How many triples are gone.

        Raises:
            UnknownSourceError: nothing was told under that name.
        """
        known = [*self._places, *([self._waiting.source] if self._waiting.next else [])]
        if source not in known:
            raise UnknownSourceError(source, known=known)
        self._told = None
        if source == self._waiting.source:
            self._waiting, self._before = Waiting(), []
        self._places.pop(source, None)
        return self.table.forget(source)

    # Asking -------------------------------------------------------------------------------------

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; each reply is a ``CallReply``, its evidence what was spliced in."""
        longest = max_new_tokens or _TEXT_TOKENS
        return [self._asked(question, longest) for question in questions]

    def _asked(self, question: str, longest: int) -> CallReply:
        if not question.strip():
            raise EmptyTextError("The question")
        stops = self.system.shared.mplus.prompt.stop
        loop = self._loop(question_prompt(question), longest, stops)
        loop.run()
        text = until_stop(loop.said, stops)
        rows = list(loop.reads[-1].results.items()) if loop.reads else []
        evidence = tuple(_evidence(row, 1 / len(rows)) for _, row in reversed(rows))
        return CallReply(
            text,
            self.system.declines(text),
            loop.said,
            evidence=evidence,
            calls=loop.calls,
            parsed=loop.parsed,
            found=tuple(end for end, _ in rows),
        )

    def continue_(self, text: str, *, max_new_tokens: int = _TEXT_TOKENS) -> str:
        """Go on with a text, asking the memory where the model does.

        Args:
            text: as it stands.
            max_new_tokens: most tokens of text; calls are not counted.

        Returns:
            What follows, without the calls.

        Raises:
            EmptyTextError: the text is empty.
        """
        if not text.strip():
            raise EmptyTextError()
        return self._loop(text, max_new_tokens, ()).run()

    def _loop(self, prompt: str, longest: int, stops: tuple[str, ...]) -> ReadLoop[Row]:
        tools = self.tools
        on = tools.options.memory == "on"
        reading = Reading(tools.reader, longest, stops, may_call=on)
        return ReadLoop(reading, self._look_up, prompt)

    def _look_up(self, queries: Sequence[Query]) -> Mapping[str, Row]:
        return self.tools.look_up(self._with_what_waits(), queries)

    def _with_what_waits(self) -> TripleTable:
        """The table as it would be if what waits had ended."""
        if not self._waiting.text.strip():
            return self.table
        if self._told is None:
            view = self.fork()
            view.flush()
            self._told = view.table
        return self._told

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``; what a call behind the prompt finds stands before the options."""
        found: list[list[tuple[float, int]]] = []
        for prompt, group in zip(prompts, options, strict=True):
            pieces = self._prompted(prompt)
            text = self.tools.reader.begun(pieces)
            with text.active():
                found.append([text.likelihood(self.tools.core.encode(one)) for one in group])
        return found

    def _prompted(self, prompt: str | ChatPrompt) -> list[str]:
        """The pieces of a prompt, with the call that the model makes behind it, and its results."""
        if isinstance(prompt, str):
            given, start = prompt, ""
        elif prompt.user.strip():
            given, start = question_prompt(prompt.user), prompt.answer_start
        else:
            raise EmptyTextError("The question")
        if not given:
            return []
        loop = self._loop(given, len(self.tools.core.encode(START)), ())
        if self.tools.options.memory == "on":
            loop.read_once()
        return [*loop.context, start]

    # Copies -------------------------------------------------------------------------------------

    def fork(self) -> MemLLMSession:
        """See ``Session.fork``; nothing is copied until one of the two is written to."""
        other = MemLLMSession(self.system, self.tools, self.table.fork())
        other.tokens, other.counts = self.tokens, self.counts
        other._waiting, other._before = self._waiting.copy(), list(self._before)
        other._places = dict(self._places)
        return other

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        waiting, counts = self._waiting, self.counts
        state = _State(
            tokens=self.tokens,
            writes=self.table.writes,
            counts=[counts.sentences, counts.parsed, counts.triples],
            source=waiting.source,
            text=waiting.text,
            first=waiting.first,
            before=self._before,
            places=list(self._places.items()),
        )
        ends = {_ENDS: torch.tensor(waiting.ends, dtype=torch.int32)}
        save_session(path, self.system, state, self.table.tensors() | ends)


def load_memllm(system: SharedSystem[MemLLMOptions], tools: Tools, path: Path) -> MemLLMSession:
    """The session that was saved there.

    Raises:
        MemplusError: see ``session_file.load_session``; or its parts contradict each other.
    """
    state, tensors = load_session(path, system, _State)
    ends = _places_of(tensors.pop(_ENDS, None), state, path)
    require(len(state.counts) == 3, path, "header.state.counts", "has not three numbers")
    table = TripleTable.of_tensors(tools.embed, tensors, state.writes, path)
    made = MemLLMSession(system, tools, table)
    made.tokens = state.tokens
    made.counts = Counts(*state.counts)
    made._waiting = Waiting(state.source, state.text, ends, state.first)
    made._before = list(state.before)
    made._places = dict(state.places)
    return made


def _places_of(tensor: Tensor | None, state: _State, path: Path) -> list[int]:
    """Where the waiting text's tokens end."""
    ok = tensor is not None and tensor.dtype == torch.int32 and tensor.dim() == 1
    require(ok, path, _ENDS, "is missing or no list of places")
    assert tensor is not None
    ends: list[int] = tensor.tolist()
    rising = all(a <= b for a, b in zip([0, *ends], ends, strict=False))
    fits = rising and (not ends or ends[-1] <= len(state.text))
    require(fits, path, _ENDS, "does not fit the text that waits")
    return ends


def _evidence(row: Row, share: float) -> Evidence:
    """Where a triple was said last."""
    origin = row.origins[-1]
    return Evidence(origin.source, origin.start, origin.end, share, ">>".join(row.triple))
