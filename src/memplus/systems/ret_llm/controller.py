"""RET-LLM's controller: it listens to the model and carries out the calls that the model makes.

A sentence leads to calls that write, which the controller parses (2305.14322, section 3). A
question leads to a call that reads: at ``}:`` the controller stops the model, looks the query up,
puts the rows behind the call and lets the model go on; only what follows is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from memplus.backbone.lora import Lora
from memplus.mplus.core import Core
from memplus.systems.protocol import Reply
from memplus.systems.ret_llm.grammar import (
    READ_BEGINS,
    READ_ENDS,
    WRITE_BEGINS,
    Query,
    Triple,
    before_calls,
    parse_calls,
    result_text,
)
from memplus.systems.ret_llm.lookups import Found, newest
from memplus.systems.ret_llm.prompts import (
    ASKED_EXAMPLES,
    TOLD_EXAMPLES,
    question_prompt,
    text_prompt,
)
from memplus.systems.triples.decoding import END, Continuation, Decoded, Decoding, decode
from memplus.systems.triples.parting import parted
from memplus.systems.triples.rows import Row
from memplus.systems.triples.side_by_side import Job, Outcome, side_by_side

__all__ = ["Controller", "ReadReply", "Written"]

_SENTENCE, _CALLS, _QUERY = 256, 256, 64
"""Most tokens of a sentence with its prompt, of the calls for it, and of a query."""
_SLACK = 2
"""Tokens more than a call's beginning usually takes."""

Answerer = Callable[[Query], Found]
"""Carries a query out."""


@dataclass(frozen=True)
class Written:
    """What the model made of a sentence."""

    triples: tuple[Triple, ...]
    malformed: int = 0
    """Calls that were begun and do not follow the grammar: nothing is stored of them."""


@dataclass(frozen=True)
class ReadReply(Reply):
    """A reply, and what was asked of the table for it; its session says whether it declines."""

    query: Query | None = None
    """None: the model made no call, or none that can be carried out."""
    malformed: bool = False
    """The model made a call, and it does not follow the grammar."""
    found: Found | None = None
    shown: tuple[Row, ...] = ()
    """Of the rows that were found, those that stood in the result."""
    overshot: bool = False
    """The model said something behind its call that the controller took away."""
    ended: bool = False
    """The model made no call, and what it said instead is all that it says."""

    @property
    def called(self) -> bool:
        """Whether the model made a call, and so a result stands behind it."""
        return self.query is not None or self.malformed


class Controller:
    """Lets one model write and read.

    Args:
        core: the model.
        lora: what it was tuned by; None: the plain decoder, prompted with worked examples.
        most_rows: of a result; older ones are left out.
    """

    def __init__(self, core: Core, lora: Lora | None, most_rows: int) -> None:
        self.core = core
        self.lora = lora
        self.most_rows = most_rows
        end = core.tokenizer.eos_token_id
        self._ends: list[int] = [] if end is None else [int(end)]
        self._stops = ("\n",) if lora is None else ()
        """What ends a call or an answer of a model that does not say when it is done."""
        self._prompted: dict[str, Continuation] = {}

    # Writing ------------------------------------------------------------------------------------

    def write(self, sentences: Iterable[str]) -> Iterator[Outcome[Written]]:
        """The triples that each sentence holds, as the model says; they are read side by side."""
        return side_by_side(self.core, self.lora, map(self._writing, sentences))

    def _writing(self, sentence: str) -> Job[Written]:
        triples: list[Triple] = []
        malformed = 0
        for part in parted(" ".join(sentence.split()), self._is_short):
            calls = yield from self._calls(self._begun(TOLD_EXAMPLES, text_prompt(part)))
            found = [one for one in parse_calls(calls) if not isinstance(one, Query)]
            malformed += max(0, calls.count(WRITE_BEGINS) - len(found))
            triples += found
        return Written(tuple(triples), malformed)

    def _calls(self, text: Continuation) -> Job[str]:
        """What the model says to a sentence, where it begins with a call; else nothing."""
        begun = yield self._beginning(text, WRITE_BEGINS)
        if not _is_call(begun, WRITE_BEGINS):
            return ""
        room = min(_CALLS, self.core.positions - len(text))
        said = yield Decoding(text, room, self._stops, self._ends)
        return WRITE_BEGINS + said.text

    def _is_short(self, sentence: str) -> bool:
        """Whether a sentence can be put to the model as it is."""
        most = min(_SENTENCE, self.core.positions // 2)
        return len(self.core.encode(text_prompt(sentence))) <= most

    # Reading ------------------------------------------------------------------------------------

    def ask(self, question: str, look_up: Answerer, max_new_tokens: int) -> ReadReply:
        """Answer a question.

        Args:
            question: in plain words.
            look_up: carries out the query that the model makes.
            max_new_tokens: of the answer; a call is not counted.

        Raises:
            PositionsError: the question is too long for the model.
        """
        text = self.asked(question)
        start = len(text)
        with text.active():
            read = self.read(text, look_up)
            if read.called:
                start = len(text)
            end = start + max_new_tokens
            if not read.ended:
                decode(text, limit=end - len(text), ends=self._ends, stops=("\n",))
            said = text.text(start)
            text.rewind(end)  # as much as a call's beginning may be more than was asked for
            generated = text.text(start)
        answer = generated[: len(before_calls(said))].strip()
        return replace(read, text=answer, generated=generated)

    def asked(self, question: str) -> Continuation:
        """A question as it is put to the model."""
        return self._begun(ASKED_EXAMPLES, question_prompt(question))

    def read(self, text: Continuation, look_up: Answerer) -> ReadReply:
        """Let the model ask the table behind a text, which grows by the call and its result.

        Returns:
            Its ``text`` is what the model said instead of a call.
        """
        begun = self._beginning(text, READ_BEGINS).finish()
        if not _is_call(begun, READ_BEGINS):
            ended = begun.stop == END or (begun.stop == "\n" and bool(begun.text.strip()))
            return ReadReply(begun.text, declined=False, ended=ended)
        call = decode(text, limit=_QUERY, ends=self._ends, stops=(READ_ENDS, *self._stops))
        queries = parse_calls(READ_BEGINS + call.text)
        query = queries[0] if queries and isinstance(queries[0], Query) else None
        found = None if query is None else look_up(query)
        shown = self._splice(text, () if found is None else found.rows)
        return ReadReply(
            "",
            declined=False,
            query=query,
            malformed=query is None,
            found=found,
            shown=shown,
            overshot=bool(call.cut.strip()),
        )

    def _splice(self, text: Continuation, rows: Sequence[Row]) -> tuple[Row, ...]:
        """Put the result behind a call.

        Returns:
            The rows in it: the newest, as many as are shown and have room.
        """
        left_out = max(0, len(rows) - self.most_rows)
        room = (self.core.positions - len(text)) * 3 // 4  # the answer needs some as well
        while True:
            shown = newest(rows, len(rows) - left_out)
            ids = text.encode(result_text([row.triple for row in shown], left_out))
            if len(ids) <= room or not shown:
                text.extend(ids)
                return shown
            left_out += 1

    # Both ---------------------------------------------------------------------------------------

    def _begun(self, examples: str, prompt: str) -> Continuation:
        """The prompt, behind the worked examples where the model was not tuned."""
        if self.lora is not None:
            text = Continuation(self.core, self.lora)
            text.extend(text.encode(prompt))
            return text
        if examples not in self._prompted:
            made = Continuation(self.core, None)
            made.extend(made.encode(examples))
            made.scores()  # read alone, so that what follows never depends on what came first
            self._prompted[examples] = made
        text = self._prompted[examples].fork()
        text.extend(text.encode(prompt))
        return text

    def _beginning(self, text: Continuation, begins: str) -> Decoding:
        """Let the model say as much as a call's beginning takes; what it says else is no call."""
        limit = len(text.encode(begins)) + _SLACK
        room = max(1, min(limit, self.core.positions - len(text)))
        return Decoding(text, room, (begins, "\n"), self._ends)


def _is_call(said: Decoded, begins: str) -> bool:
    """Whether what was said is the beginning of a call, and nothing before it."""
    return said.stop == begins and said.text.strip() == begins
