"""Base of the sessions that keep triples: a table, and the sentence that has not ended yet.

Text is read sentence by sentence; what a sentence says is written to the table with its place in
its source. A session on it says what a sentence becomes and how a question is answered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

import torch
from pydantic import Strict
from torch import Tensor

from memplus.memory.checks import Count, Fields, Items, Text, require, require_tensor
from memplus.memory.forgetting import sources_named
from memplus.mplus.arguments import check_count
from memplus.systems.protocol import ChatPrompt, Evidence, Reply, pieces_of
from memplus.systems.protocol import Text as Told
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import SharedSystem
from memplus.systems.triples.decoding import Continuation
from memplus.systems.triples.packing import as_bytes
from memplus.systems.triples.rows import Row
from memplus.systems.triples.side_by_side import Outcome
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.tools import TripleTools
from memplus.systems.triples.waiting import Sentence, Waiting

__all__ = ["ToldState", "TripleSession", "TripleState", "WaitingState", "behind"]


# A session's state without its tensors. It comes in parts, since the fields of a file stand in the
# order of these and a system's own stand between them.
class ToldState(Fields):
    """How much was told."""

    tokens: Count
    writes: Count


class WaitingState(Fields):
    """What waits."""

    source: Text
    text: Text
    first: Count


class _Places(Fields):
    places: Items[Annotated[tuple[Text, Count], Strict(strict=False)]]
    """Sources and their tokens, which JSON has as lists."""


class TripleState(_Places, WaitingState, ToldState):
    """What every session of triples saves beside its tensors."""


Tools = TypeVar("Tools", bound=TripleTools[Any])
State = TypeVar("State", bound=TripleState)


def behind(gap: str, text: str) -> str:
    """A text behind what stands before every answer, unless it brings a blank of its own."""
    return text if not text or text[0].isspace() else gap + text


class TripleSession(ABC, Generic[Tools, State]):
    """A table that is written to and asked by calls of the model.

    Args:
        system: whose session it is.
        tools: of the system.
        table: is written to by this session alone.
    """

    state_type: type[State]
    """Which fields a saved session has."""
    ends_name: ClassVar[str]
    """Of the tensor in a saved session that says where the tokens of the waiting text end."""
    between: ClassVar[str]
    """Stands between the texts of a triple that is shown as evidence."""

    def __init__(self, system: SharedSystem[Any], tools: Tools, table: TripleTable) -> None:
        self.system = system
        self.tools = tools
        self.table = table
        self.tokens = 0
        self._waiting = Waiting()
        self._places: dict[str, int] = {}
        """Tokens of each source that is not the waiting one's."""
        self._to_store: list[tuple[Any, str, tuple[int, int]]] = []
        """What a write that goes on will store."""
        self._told: TripleTable | None = None
        """The table with what still waits; None: it has to be made."""

    @property
    def nbytes(self) -> int:
        """Bytes of triples with their vectors and origins, and of what waits."""
        names = sum(len(as_bytes(name)) + 8 for name in self._places)
        return self.table.nbytes + self._waiting.nbytes + names

    # Writing ------------------------------------------------------------------------------------

    def write(self, text: Told, source: str = "") -> None:
        """Read a text on, sentence by sentence; one that has not ended waits.

        A sentence that cannot be written is left out, and its error is raised behind the others.
        Whatever else stops a write leaves the session as it was.

        Raises:
            EmptyTextError: there is nothing to read.
            PositionsError: the model has no room for a sentence, however short.
        """
        pieces = pieces_of(text, source)
        self._go_on(lambda told: told._read_on(pieces, source))

    def flush(self) -> None:
        """Read what waits, as if it had ended; see ``write``."""
        self._go_on(type(self)._read_rest)

    def _go_on(self, read: Callable[[Self], list[Exception]]) -> None:
        """Read more, all of it or nothing.

        The model goes first and the table is changed last, in one piece.

        Args:
            read: with a session that has this one's table; gives the errors of sentences.

        Raises:
            Exception: the first of these errors.
        """
        told = self._beside()
        errors = read(told)
        with self.table.all_or_nothing():
            for written, source, place in told._to_store:
                told._store(written, source, place)
        told._to_store = []
        self.__dict__.update(told.__dict__)
        if errors:
            raise errors[0]

    def _read_on(self, pieces: list[str], source: str) -> list[Exception]:
        """Take in pieces of a source; the errors of sentences that were left out."""
        errors: list[Exception] = []
        if source != self._waiting.source:
            errors += self._read_rest()
            if self._waiting.next:
                self._places[self._waiting.source] = self._waiting.next
            self._turn_to(source)
        whole: list[Sentence] = []
        for piece, ends in zip(pieces, self.system.shared.reference(pieces), strict=True):
            self._waiting.add(piece, ends)
            self.tokens += len(ends)
            whole += self._waiting.take()
        return errors + self._take_in(whole)

    def _read_rest(self) -> list[Exception]:
        """Take in what waits; the errors of sentences that were left out."""
        return self._take_in([*self._waiting.take(all_of_it=True)])

    def _turn_to(self, source: str) -> None:
        """Wait for text of another source, behind what was told of it."""
        self._waiting = Waiting(source, first=self._places.pop(source, 0))

    def _take_in(self, whole: Sequence[Sentence]) -> list[Exception]:
        """Let the model write what sentences of the waiting source say, to be stored in order.

        Returns:
            The errors of those that cannot be written, which are left out.
        """
        self._told = None
        errors: list[Exception] = []
        calls = self._calls_of(sentence for sentence, _ in whole)
        for (_, place), outcome in zip(whole, calls, strict=True):
            if outcome.error is None:
                self._to_store.append((outcome.value(), self._waiting.source, place))
            else:
                errors.append(outcome.error)
        return errors

    @abstractmethod
    def _calls_of(self, sentences: Iterable[str]) -> Iterator[Outcome[Any]]:
        """What the model writes of each of some sentences, in order."""

    @abstractmethod
    def _store(self, written: Any, source: str, place: tuple[int, int]) -> None:
        """Put into the table what was written of a sentence.

        Args:
            written: as ``_calls_of`` gave it.
            source: the sentence's.
            place: the sentence's first token in that source, and the token after its last.
        """

    def forget(self, source: str) -> int:
        """Take away what only this source said, what waits of it, and its name.

        Args:
            source: as it was written, or equivalent in Unicode.

        Returns:
            How many triples are gone.

        Raises:
            UnknownSourceError: nothing was told under that name; says which sources there are.
            UsageError: it is no text.
        """
        waits = [self._waiting.source] if self._waiting.next else []
        names = sources_named([*self._places, *waits], source)
        self._told = None
        for name in names:
            self._places.pop(name, None)
            if name == self._waiting.source:
                self._turn_to("")
        return sum(self.table.forget(name) for name in names)

    # Asking -------------------------------------------------------------------------------------

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; the evidence is the triples that were found, the last one first.

        Raises:
            EmptyTextError, UsageError: a question is empty, or no text.
            ConfigError: ``max_new_tokens`` is no whole number of at least 1.
            PositionsError: a question is too long for the model.
        """
        longest = self.tools.answer_tokens if max_new_tokens is None else max_new_tokens
        check_count("max_new_tokens", longest)
        asked = [ChatPrompt(question).user for question in questions]
        return [self._answered(question, longest) for question in asked]

    @abstractmethod
    def _answered(self, question: str, longest: int) -> Reply:
        """The answer to one question, of so many tokens at most."""

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``; what a call behind the prompt finds stands before the options."""
        found: list[list[tuple[float, int]]] = []
        for prompt, group in zip(prompts, options, strict=True):
            text, gap = self._prompted(prompt)
            with text.active():
                ids = [self.tools.core.encode(behind(gap, one)) for one in group]
                found.append([text.likelihood(one) for one in ids])
        return found

    @abstractmethod
    def _prompted(self, prompt: str | ChatPrompt) -> tuple[Continuation, str]:
        """A prompt with the call that the model makes behind it, and its result; and what stands
        between that and an answer, in training as here."""

    def _with_what_waits(self) -> TripleTable:
        """The table as it would be if what waits had ended."""
        if not self._waiting.text.strip():
            return self.table
        if self._told is None:
            view = self.fork()
            view.flush()
            self._told = view.table
        return self._told

    def _evidence(self, rows: Sequence[Row]) -> tuple[Evidence, ...]:
        """Rows, the last one first, each by the newest write that said it."""
        return tuple(
            Evidence(
                row.origins[-1].source,
                row.origins[-1].start,
                row.origins[-1].end,
                1 / len(rows),
                self.between.join(row.triple),
            )
            for row in reversed(rows)
        )

    # Copies -------------------------------------------------------------------------------------

    def fork(self) -> Self:
        """See ``Session.fork``; nothing is copied until one of the two is written to."""
        other = self._beside()
        other.table = self.table.fork()
        return other

    def _beside(self) -> Self:
        """The same session with the same table, and all else its own."""
        other = copy(self)  # whatever a system's own session keeps beside these never changes
        other._waiting, other._places, other._told = self._waiting.copy(), dict(self._places), None
        other._to_store = []
        return other

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        waiting = self._waiting
        state = {
            "tokens": self.tokens,
            "writes": self.table.writes,
            "source": waiting.source,
            "text": waiting.text,
            "first": waiting.first,
            "places": list(self._places.items()),
        }
        checked = self.state_type.model_validate(state | self._own_state())
        ends = {self.ends_name: torch.tensor(waiting.ends, dtype=torch.int32)}
        save_session(path, self.system, checked, self.table.tensors() | ends)

    @abstractmethod
    def _own_state(self) -> dict[str, Any]:
        """The other fields of a saved session."""

    @classmethod
    def of_file(cls, system: SharedSystem[Any], tools: Tools, path: Path) -> Self:
        """The session that was saved there.

        Raises:
            MemplusError: see ``session_file.load_session``; or its parts contradict each other.
        """
        state, tensors = load_session(path, system, cls.state_type)
        ends = _ends(tensors, cls.ends_name, state.text, path)
        made = cls(system, tools, TripleTable.of_tensors(tools.embed, tensors, state.writes, path))
        made.tokens = state.tokens
        made._waiting = Waiting(state.source, state.text, ends, state.first)
        made._places = dict(state.places)
        made._restore(state, path)
        return made

    @abstractmethod
    def _restore(self, state: State, path: Path) -> None:
        """Take over the other fields of a saved session.

        Raises:
            CorruptMemoryError: one of them cannot be so.
        """


def _ends(tensors: Mapping[str, Tensor], name: str, text: str, path: Path) -> list[int]:
    """Where the tokens of the waiting text end."""
    ends: list[int] = require_tensor(tensors, name, path, (torch.int32,), (None,)).tolist()
    rises = ends == sorted(ends) and all(0 <= end <= len(text) for end in ends)
    require(rises, path, name, "does not fit the text that waits")
    return ends
