"""Running plans: one stream of writes, asked by every method, answers recorded as they come.

The memory with its long-term memory is M+. The same memory without it, taken off between two
writes, is what a MemoryLLM of the same weights, seed and drops would hold, so one stream of writes
serves both. "No memory" is one that was told nothing.

A run that goes on writes the text again from the start: the memory that comes of it is the same,
bit for bit, and a file of a million tokens' rows would take longer to save and read than that.

Shapes: none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from memplus.data.notes import ABSTENTION
from memplus.errors import DamagedRunError
from memplus.evaluation.engine.judging import contains, is_right
from memplus.evaluation.engine.plan import Plan, Question
from memplus.mplus.asking import answer_all
from memplus.systems.note_rows import recall

if TYPE_CHECKING:
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus

__all__ = ["LONG_TERM", "SHORT_TERM", "WITHOUT", "InMemory", "Judging", "Recorder", "run_plans"]

LONG_TERM, SHORT_TERM, WITHOUT = "M+", "MemoryLLM", "no memory"
_BATCH = 32
"""Most questions asked together."""

Report = Callable[[str, int, int], None]


class Recorder(Protocol):
    """Where answers go: a ``RunFile``, or ``InMemory``."""

    lines: list[dict[str, Any]]

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep one line."""
        ...


class InMemory:
    """Keeps lines for a run that nobody will go on with."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep one line."""
        self.lines.append(dict(line))


@dataclass(frozen=True, slots=True)
class Judging:
    """How an answer is asked for and judged."""

    exact: bool = True
    """The whole answer must be the right one; otherwise it must hold it."""
    max_new_tokens: int | None = None
    """Most tokens of an answer; None: the model's own."""


def run_plans(
    model: MPlus, plans: Sequence[Plan], judging: Judging, recorder: Recorder, report: Report
) -> Memory | None:
    """Write and ask everything that is not recorded yet.

    Args:
        model: as loaded; one without a long-term memory is asked as a MemoryLLM only.
        plans: in the order in which their lines lie in the recorder.
        judging: of the answers.
        recorder: what is known already, and where new lines go.
        report: called with (what, done, total).

    Returns:
        The last plan's memory as its last question found it; None if all of it was known.

    Raises:
        DamagedRunError: what is recorded is not what these plans give.
    """
    return _Runner(model, plans, judging, recorder, report).run()


class _Runner:
    def __init__(
        self,
        model: MPlus,
        plans: Sequence[Plan],
        judging: Judging,
        recorder: Recorder,
        report: Report,
    ) -> None:
        self.model = model
        self.plans = plans
        self.judging = judging
        self.recorder = recorder
        self.report = report
        self.known = list(recorder.lines)
        self.at = 0
        """Lines passed so far, known or new."""
        has_store = model.memory_config.has_long_term
        self.methods = (LONG_TERM, SHORT_TERM) if has_store else (SHORT_TERM,)
        self.read = self.asked = 0
        self.tokens = sum(plan.tokens for plan in plans)
        self.questions = sum(
            len(plan.once) + len(self.methods) * len(list(plan.questions)) for plan in plans
        )

    def run(self) -> Memory | None:
        memory = None
        for plan in self.plans:
            count = len(plan.once) + len(self.methods) * len(list(plan.questions))
            if self.at + count < len(self.known):
                self.at += count
                self._pass({"plan": plan.name, "key": "end"})
                self.read += plan.tokens
                self.asked += count
                memory = None
            else:
                memory = self._run_plan(plan)
        if self.at < len(self.known):
            raise self._damaged(self.at)
        return memory

    def _run_plan(self, plan: Plan) -> Memory:
        blank = self.model.new_memory(plan.seed)
        for start in range(0, len(plan.once), _BATCH):
            self._ask(plan, WITHOUT, blank, plan.once[start : start + _BATCH])
        memory = self.model.new_memory(plan.seed)
        seconds = 0.0
        for step in plan.steps:
            started = time.perf_counter()
            if step.ids:
                self.model.write(
                    memory,
                    step.ids,
                    source=step.source,
                    flush=step.flush,
                    progress=self._written,
                )
            self.read += len(step.ids)
            seconds += time.perf_counter() - started
            for method in self.methods if step.questions else ():
                asked = memory if method == LONG_TERM else memory.short_term_only()
                for start in range(0, len(step.questions), _BATCH):
                    self._ask(plan, method, asked, step.questions[start : start + _BATCH])
        end = {"plan": plan.name, "key": "end"}
        if not self._pass(end):
            self.recorder.append(end | _ended(plan, memory, seconds))
        return memory

    def _written(self, done: int, total: int) -> None:
        self.report("reading", self.read + done, self.tokens)

    def _ask(self, plan: Plan, method: str, memory: Memory, batch: Sequence[Question]) -> None:
        """Ask a batch whole, unless all of it is known, so that its answers are the same again."""
        self.asked += len(batch)
        heads = [
            {"plan": plan.name, "seed": plan.seed, "key": one.key, "method": method}
            for one in batch
        ]
        left = len(self.known) - self.at
        if left >= len(batch):
            for head in heads:
                self._pass(head)
        else:
            for head, line in zip(heads, self._answered(method, memory, batch), strict=True):
                if not self._pass(head):
                    self.recorder.append(head | line)
        self.report("asking", self.asked, self.questions)

    def _pass(self, head: Mapping[str, Any]) -> bool:
        """Go one line on; whether it was known, and the right one."""
        self.at += 1
        if self.at > len(self.known):
            return False
        if any(self.known[self.at - 1].get(name) != value for name, value in head.items()):
            raise self._damaged(self.at - 1)
        return True

    def _damaged(self, index: int) -> DamagedRunError:
        return DamagedRunError(getattr(self.recorder, "path", "The run"), line=index + 2)

    def _answered(
        self, method: str, memory: Memory, batch: Sequence[Question]
    ) -> list[dict[str, Any]]:
        started = time.perf_counter()
        texts = [question.text for question in batch]
        answers = answer_all(self.model, memory, texts, self.judging.max_new_tokens)
        seconds = (time.perf_counter() - started) / len(batch)
        said = answers.texts if self.judging.exact else answers.generated
        lines = []
        for row, question in enumerate(batch):
            line = _judged(question, said[row], exact=self.judging.exact)
            line |= {"seconds": round(seconds, 4), "bytes": memory.nbytes}
            if memory.long_term is not None and question.told is not None:
                found = recall(memory, answers.prefix, row, question.told)
                line["long_term_rows"] = memory.long_term_rows
                line["rows"] = {name: asdict(one) for name, one in found.items()}
            lines.append(line)
        return lines


def _ended(plan: Plan, memory: Memory, seconds: float) -> dict[str, Any]:
    return {
        "tokens": plan.tokens,
        "writes": len(memory.writes),
        "write_seconds": round(seconds, 3),
        "bytes": memory.nbytes,
        "long_term_rows": memory.long_term_rows,
    }


def _judged(question: Question, said: str, *, exact: bool) -> dict[str, Any]:
    judge = is_right if exact else contains
    older = question.outdated
    return {
        "kind": question.kind,
        "wanted": question.wanted,
        "distance": question.distance,
        "question": question.text,
        "answers": list(question.answers),
        "said": said,
        "right": any(judge(said, answer) for answer in question.answers),
        "abstained": is_right(said, ABSTENTION),
        "outdated": older is not None and judge(said, older),
    }
