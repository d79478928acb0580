"""What RET-LLM has read so far: a table of triples, and the sentence that has not ended yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from memplus.memory.checks import Count
from memplus.systems.protocol import ChatPrompt
from memplus.systems.ret_llm.controller import ReadReply, Written
from memplus.systems.ret_llm.grammar import Query, can_be_kept
from memplus.systems.ret_llm.lookups import Found
from memplus.systems.ret_llm.prompts import BEFORE_ANSWER
from memplus.systems.ret_llm.tools import Tools
from memplus.systems.shared import SharedSystem
from memplus.systems.triples.decoding import Continuation
from memplus.systems.triples.rows import Triple, Update
from memplus.systems.triples.session import ToldState, TripleSession, TripleState, behind
from memplus.systems.triples.side_by_side import Outcome
from memplus.systems.triples.table import TripleTable

__all__ = ["Counts", "RetLLMSession"]

_NOTHING = Found("none", (), ())


@dataclass(frozen=True)
class Counts:
    """What became of what was told."""

    sentences: int = 0
    triples: int = 0
    """Calls that were carried out, of the same triple too."""
    malformed: int = 0
    """Calls that do not follow the grammar, or whose fields would break it."""


class _Counted(ToldState):
    sentences: Count
    triples: Count
    malformed: Count


class _State(TripleState, _Counted):
    """A session without its tensors."""


class RetLLMSession(TripleSession[Tools, _State]):
    """See ``TripleSession``; each question is answered by a ``ReadReply``."""

    state_type = _State
    ends_name = "waiting_ends"
    between = " "

    def __init__(self, system: SharedSystem[Any], tools: Tools, table: TripleTable) -> None:
        super().__init__(system, tools, table)
        self.counts = Counts()

    def _calls_of(self, sentences: Iterable[str]) -> Iterator[Outcome[Written]]:
        return self.tools.controller.write(sentences)

    def _store(self, written: Written, source: str, place: tuple[int, int]) -> None:
        kept = [one for one in written.triples if all(map(can_be_kept, one))]
        counts = self.counts
        self.counts = Counts(
            counts.sentences + 1,
            counts.triples + len(kept),
            counts.malformed + written.malformed + len(written.triples) - len(kept),
        )
        for triple in kept:
            update: Update = "replace" if self.tools.has_one_value(triple[1]) else "add"
            self.table.add([Triple(*triple)], source, place, update)

    def reset(self) -> None:
        """Forget everything."""
        fresh = RetLLMSession(self.system, self.tools, TripleTable(self.tools.embed))
        self.__dict__.update(fresh.__dict__)

    # Asking -------------------------------------------------------------------------------------

    def _answered(self, question: str, longest: int) -> ReadReply:
        reply = self.tools.controller.ask(question, self._look_up, longest)
        found = len(reply.found.rows) if reply.found is not None else 0
        left_out = found - len(reply.shown)
        return replace(
            reply,
            declined=self.system.declines(reply.text),
            evidence=self._evidence(reply.shown),
            remark=f"left out the oldest {left_out} of {found} rows" if left_out else "",
        )

    def _look_up(self, query: Query) -> Found:
        if self.tools.options.memory == "off":
            return _NOTHING
        return self.tools.look_up(self._with_what_waits(), query)

    def _prompted(self, prompt: str | ChatPrompt) -> tuple[Continuation, str]:
        core, controller = self.tools.core, self.tools.controller
        if isinstance(prompt, ChatPrompt):
            text = controller.asked(prompt.user)
        else:
            text = Continuation(core, controller.lora, core.encode(prompt))
        if not text:
            return text, ""
        start = len(text)
        with text.active():
            read = controller.read(text, self._look_up)
        if not read.called:
            text.rewind(start)
        if not isinstance(prompt, ChatPrompt):
            return text, ""  # its options bring what stands before them
        gap = BEFORE_ANSWER if read.called else ""
        if not prompt.answer_start:
            return text, gap
        text.extend(core.encode(behind(gap, prompt.answer_start)))
        return text, ""

    # Copies -------------------------------------------------------------------------------------

    def _own_state(self) -> dict[str, Any]:
        return asdict(self.counts)

    def _restore(self, state: _State, path: Path) -> None:
        self.counts = Counts(state.sentences, state.triples, state.malformed)
