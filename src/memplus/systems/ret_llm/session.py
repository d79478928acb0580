"""What RET-LLM has read so far: a table of triples, and the sentence that has not ended yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Strict
from torch import Tensor

from memplus.errors import EmptyTextError
from memplus.memory.checks import Count, Fields, Items, Text, require
from memplus.systems.protocol import ChatPrompt, Evidence, Reply, pieces_of
from memplus.systems.protocol import Text as Told
from memplus.systems.ret_llm.controller import ReadReply
from memplus.systems.ret_llm.grammar import Query, can_be_kept
from memplus.systems.ret_llm.lookups import Found
from memplus.systems.ret_llm.prompts import question_prompt
from memplus.systems.ret_llm.tools import RetLLMOptions, Tools
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import SharedSystem
from memplus.systems.triples.decoding import Continuation
from memplus.systems.triples.rows import Row, Triple, Update
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.waiting import Waiting

__all__ = ["Counts", "RetLLMSession", "load_ret_llm"]

_ENDS = "waiting_ends"
_NOTHING = Found("none", (), ())


@dataclass(frozen=True)
class Counts:
    """What became of what was told."""

    sentences: int = 0
    triples: int = 0
    """Calls that were carried out, of the same triple too."""
    malformed: int = 0
    """Calls that do not follow the grammar, or whose fields would break it."""


class _State(Fields):
    """A session without its tensors."""

    tokens: Count
    writes: Count
    sentences: Count
    triples: Count
    malformed: Count
    source: Text
    text: Text
    first: Count
    places: Items[Annotated[tuple[Text, Count], Strict(strict=False)]]


class RetLLMSession:
    """A table that is written to and asked by calls of the model.

    Args:
        system: whose session it is.
        tools: of the system.
        table: is written to by this session alone.
    """

    def __init__(
        self, system: SharedSystem[RetLLMOptions], tools: Tools, table: TripleTable
    ) -> None:
        self.system = system
        self.tools = tools
        self.table = table
        self.tokens = 0
        self.counts = Counts()
        self._waiting = Waiting()
        self._places: dict[str, int] = {}
        """Tokens of each source that is not the waiting one's."""
        self._told: TripleTable | None = None
        """The table with what still waits; None: it has to be made."""

    @property
    def nbytes(self) -> int:
        """Bytes of texts, vectors, origins and row numbers, and of what waits."""
        names = sum(len(name.encode()) + 8 for name in self._places)
        return self.table.nbytes + self._waiting.nbytes + names

    # Writing ------------------------------------------------------------------------------------

    def write(self, text: Told, source: str = "") -> None:
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
            written = self.tools.controller.write(sentence)
            kept = [one for one in written.triples if all(map(can_be_kept, one))]
            counts = self.counts
            self.counts = Counts(
                counts.sentences + 1,
                counts.triples + len(kept),
                counts.malformed + written.malformed + len(written.triples) - len(kept),
            )
            for triple in kept:
                update: Update = "replace" if self.tools.has_one_value(triple[1]) else "add"
                self.table.add([Triple(*triple)], self._waiting.source, place, update)

    def forget(self, source: str) -> int:
        """Take away what only this source said, and what waits of it.

        Returns:
            How many triples are gone.
        """
        self._told = None
        if source == self._waiting.source:
            self._waiting = Waiting(source)
        self._places.pop(source, None)
        return self.table.forget(source)

    def reset(self) -> None:
        """Forget everything."""
        fresh = RetLLMSession(self.system, self.tools, TripleTable(self.tools.embed))
        self.__dict__.update(fresh.__dict__)

    # Asking -------------------------------------------------------------------------------------

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; each question is a ``ReadReply`` with the rows as its evidence."""
        longest = max_new_tokens or self.tools.answer_tokens
        return [self._asked(question, longest) for question in questions]

    def _asked(self, question: str, longest: int) -> ReadReply:
        if not question.strip():
            raise EmptyTextError("The question")
        reply = self.tools.controller.ask(question, self._look_up, longest)
        rows = reply.found.rows if reply.found is not None else ()
        evidence = tuple(_evidence(row, 1 / len(rows)) for row in reversed(rows))
        declined = self.system.declines(reply.text)
        return replace(reply, declined=declined, evidence=evidence)

    def _look_up(self, query: Query) -> Found:
        if self.tools.options.memory == "off":
            return _NOTHING
        return self.tools.look_up(self._with_what_waits(), query)

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
        """See ``Scores.score``; an option follows what the table said to its prompt."""
        found: list[list[tuple[float, int]]] = []
        for prompt, group in zip(prompts, options, strict=True):
            text = self._prompted(prompt)
            with text.active():
                found.append([text.likelihood(self.tools.core.encode(one)) for one in group])
        return found

    def _prompted(self, prompt: str | ChatPrompt) -> Continuation:
        """A prompt with the call that the model makes behind it, and its result."""
        core, controller = self.tools.core, self.tools.controller
        text = Continuation(core, controller.lora)
        if isinstance(prompt, ChatPrompt):
            if not prompt.user.strip():
                raise EmptyTextError("The question")
            text.extend(text.encode(question_prompt(prompt.user)))
        elif prompt:
            text.extend(core.encode(prompt))
        else:
            return text
        start = len(text)
        with text.active():
            read = controller.read(text, self._look_up)
        if read.query is None and not read.malformed:
            text.rewind(start)
        if isinstance(prompt, ChatPrompt) and prompt.answer_start:
            text.extend(core.encode(prompt.answer_start))
        return text

    # Copies -------------------------------------------------------------------------------------

    def fork(self) -> RetLLMSession:
        """See ``Session.fork``; nothing is copied until one of the two is written to."""
        other = RetLLMSession(self.system, self.tools, self.table.fork())
        other.tokens, other.counts = self.tokens, self.counts
        other._waiting, other._places = self._waiting.copy(), dict(self._places)
        return other

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        waiting, counts = self._waiting, self.counts
        state = _State(
            tokens=self.tokens,
            writes=self.table.writes,
            sentences=counts.sentences,
            triples=counts.triples,
            malformed=counts.malformed,
            source=waiting.source,
            text=waiting.text,
            first=waiting.first,
            places=list(self._places.items()),
        )
        ends = {_ENDS: torch.tensor(waiting.ends, dtype=torch.int32)}
        save_session(path, self.system, state, self.table.tensors() | ends)


def load_ret_llm(system: SharedSystem[RetLLMOptions], tools: Tools, path: Path) -> RetLLMSession:
    """The session that was saved there.

    Raises:
        MemplusError: see ``session_file.load_session``; or its parts contradict each other.
    """
    state, tensors = load_session(path, system, _State)
    ends = _places_of(tensors.pop(_ENDS, None), state, path)
    table = TripleTable.of_tensors(tools.embed, tensors, state.writes, path)
    made = RetLLMSession(system, tools, table)
    made.tokens = state.tokens
    made.counts = Counts(state.sentences, state.triples, state.malformed)
    made._waiting = Waiting(state.source, state.text, ends, state.first)
    made._places = dict(state.places)
    return made


def _places_of(tensor: Tensor | None, state: _State, path: Path) -> list[int]:
    right = tensor is not None and tensor.dtype == torch.int32 and tensor.dim() == 1
    require(right, path, _ENDS, "are no list of whole numbers")
    assert tensor is not None
    ends: list[int] = tensor.tolist()
    rises = ends == sorted(ends) and all(0 <= end <= len(state.text) for end in ends)
    require(rises, path, _ENDS, "are no places of its text")
    return ends


def _evidence(row: Row, share: float) -> Evidence:
    """A row, by the newest write that said it."""
    origin, (subject, relation, said) = row.origins[-1], row.triple
    text = f"{subject} {relation} {said}"
    return Evidence(origin.source, origin.start, origin.end, share, text)
