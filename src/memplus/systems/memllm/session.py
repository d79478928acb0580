"""What MemLLM has read so far: its triples, and the sentence that has not ended yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from memplus.errors import EmptyTextError
from memplus.memory.checks import Count, Items, Text, require
from memplus.mplus.arguments import check_count
from memplus.mplus.streaming import until_stop
from memplus.systems.memllm.calls import BEFORE_ANSWER, Reading, Writing, question_prompt
from memplus.systems.memllm.grammar import START, Query, write_prompt
from memplus.systems.memllm.reading import ReadLoop
from memplus.systems.memllm.tools import TEXT_TOKENS, Tools
from memplus.systems.protocol import ChatPrompt, Reply
from memplus.systems.shared import SharedSystem
from memplus.systems.triples.decoding import Continuation
from memplus.systems.triples.rows import Row
from memplus.systems.triples.session import (
    ToldState,
    TripleSession,
    TripleState,
    WaitingState,
    behind,
)
from memplus.systems.triples.side_by_side import Outcome
from memplus.systems.triples.table import TripleTable

__all__ = ["CallReply", "Counts", "MemLLMSession"]


@dataclass(frozen=True)
class Counts:
    """What became of what was told."""

    sentences: int = 0
    parsed: int = 0
    """Sentences of which the call is whole."""
    triples: int = 0
    """That were written, of the same sentence once."""
    dropped: int = 0
    """That the model said and that cannot be kept (``Writing.dropped``); 0 in a session that a
    release saved that did not count them."""


@dataclass(frozen=True)
class CallReply(Reply):
    """A reply, and how the memory was asked for it."""

    calls: int = 0
    """Read calls that were made."""
    parsed: int = 0
    """Of which something could be asked."""
    found: tuple[str, ...] = ()
    """What the last read that found something spliced in."""


class _Counted(ToldState):
    counts: Items[Count]


class _Before(WaitingState):
    before: Items[Text]


class _State(TripleState, _Before, _Counted):
    """A session without its tensors."""


class MemLLMSession(TripleSession[Tools, _State]):
    """See ``TripleSession``; each question is answered by a ``CallReply``."""

    state_type = _State
    ends_name = "waiting.ends"
    between = ">>"

    def __init__(self, system: SharedSystem[Any], tools: Tools, table: TripleTable) -> None:
        super().__init__(system, tools, table)
        self.counts = Counts()
        self._before: tuple[str, ...] = ()
        """Sentences of the waiting source that were read last."""

    @property
    def nbytes(self) -> int:
        """Bytes of triples, of what waits, and of the sentences before it."""
        return super().nbytes + sum(len(one.encode()) for one in self._before)

    # Writing ------------------------------------------------------------------------------------

    def _turn_to(self, source: str) -> None:
        super()._turn_to(source)
        self._before = ()

    def _calls_of(self, sentences: Iterable[str]) -> Iterator[Outcome[Writing]]:
        return self.tools.write(self._with_context(sentences))

    def _with_context(self, sentences: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Each with the text before it, which never depends on what is written of it."""
        keep = self.tools.options.context_sentences
        for sentence in sentences:
            yield self._context(sentence), sentence
            self._before = (*self._before, sentence)[-keep:] if keep else ()

    def _store(self, written: Writing, source: str, place: tuple[int, int]) -> None:
        update = self.tools.options.update
        self.table.add(written.triples, source, place, update)
        counts = self.counts
        self.counts = Counts(
            counts.sentences + 1,
            counts.parsed + written.parses,
            counts.triples + len(written.triples),
            counts.dropped + written.dropped,
        )

    def _context(self, sentence: str) -> str:
        """The sentences before one, the oldest left out until the prompt is short enough."""
        core, options = self.tools.core, self.tools.options
        most = min(options.context_tokens, core.positions // 2)
        for first in range(len(self._before)):
            before = "".join(f"{one} " for one in self._before[first:])
            if len(core.encode(write_prompt(before, sentence))) <= most:
                return before
        return ""

    # Asking -------------------------------------------------------------------------------------

    def _answered(self, question: str, longest: int) -> CallReply:
        stops = self.system.shared.mplus.prompt.stop
        loop = self._loop(question_prompt(question), longest, stops)
        loop.run()
        text = until_stop(loop.said, stops)
        spliced = {row.id: row for read in loop.reads for row in read.results.values()}
        return CallReply(
            text,
            self.system.declines(text),
            loop.said,
            evidence=self._evidence([*spliced.values()]),
            remark=self._remark(loop),
            calls=loop.calls,
            parsed=loop.parsed,
            found=tuple(loop.reads[-1].results) if loop.reads else (),
        )

    def _remark(self, loop: ReadLoop[Row]) -> str:
        """What an answer may lack: triples that could not be kept, and results of no use."""
        remarks = []
        if dropped := self.counts.dropped:
            noun = "triple" if dropped == 1 else "triples"
            remarks.append(f"{dropped} {noun} of what was told could not be kept")
        if loop.dropped:
            most = f"more than {loop.most_results} are of no use"
            remarks.append(f"dropped {max(loop.dropped)} results, {most}")
        return ", ".join(remarks)

    def continue_(self, text: str, *, max_new_tokens: int = TEXT_TOKENS) -> str:
        """Go on with a text, asking the memory where the model does.

        Args:
            text: as it stands.
            max_new_tokens: most tokens of text; calls are not counted.

        Returns:
            What follows, without the calls.

        Raises:
            EmptyTextError: the text is empty.
            ConfigError: ``max_new_tokens`` is no whole number of at least 1.
            PositionsError: the text is too long for the model.
        """
        check_count("max_new_tokens", max_new_tokens)
        if not text.strip():
            raise EmptyTextError()
        return self._loop(text, max_new_tokens, ()).run()

    def _loop(self, prompt: str, longest: int, stops: tuple[str, ...]) -> ReadLoop[Row]:
        tools = self.tools
        on = tools.options.memory == "on"
        reading = Reading(tools.reader, longest, stops, may_call=on)
        most = tools.options.most_results
        return ReadLoop(reading, self._look_up, prompt, most_results=most)

    def _look_up(self, queries: Sequence[Query]) -> Mapping[str, Row]:
        if self.tools.options.memory == "off":
            return {}
        return self.tools.look_up(self._with_what_waits(), queries)

    def _prompted(self, prompt: str | ChatPrompt) -> tuple[Continuation, str]:
        given = question_prompt(prompt.user) if isinstance(prompt, ChatPrompt) else prompt
        if not given:
            return self.tools.reader.begun([]), ""
        loop = self._loop(given, len(self.tools.core.encode(START)), ())
        if self.tools.options.memory == "on":
            loop.read_once()
        if isinstance(prompt, str):
            return self.tools.reader.begun(loop.context), ""  # options bring what is before them
        if not prompt.answer_start:
            return self.tools.reader.begun(loop.context), BEFORE_ANSWER
        start = behind(BEFORE_ANSWER, prompt.answer_start)
        return self.tools.reader.begun([*loop.context, start]), ""

    # Copies -------------------------------------------------------------------------------------

    def _own_state(self) -> dict[str, Any]:
        return {"counts": [*astuple(self.counts)], "before": list(self._before)}

    def _restore(self, state: _State, path: Path) -> None:
        # An older release did not count what it dropped.
        right = len(state.counts) in (3, 4)
        require(right, path, "header.state.counts", "has neither three numbers nor four")
        self.counts = Counts(*state.counts)
        self._before = tuple(state.before)
