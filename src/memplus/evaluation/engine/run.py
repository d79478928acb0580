"""Running plans: every system of a run reads the text and is asked, answers recorded as they come.

A system that can follow another's stream of writes takes its sessions from there; one that keeps
nothing is asked once. Systems are known by their protocol alone.

A run that goes on writes the text again from the start: the state that comes of it is the same,
and one of a million tokens would take longer to save and read than that.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from memplus.data.stream import Told
from memplus.errors import ConfigError, DamagedRunError
from memplus.evaluation.engine.evidence_recall import evidence_recall
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.systems.protocol import (
    ChatPrompt,
    Explains,
    Follows,
    Recalls,
    Reply,
    Scores,
    Session,
    System,
)

__all__ = ["InMemory", "Recorder", "Report", "judged", "run_plans"]

_PIECES = 64
"""Most pieces of text written between two signs of progress."""

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


def run_plans(
    systems: Sequence[System],
    plans: Sequence[Plan],
    judge: Judge,
    recorder: Recorder | Mapping[str, Recorder],
    report: Report,
    *,
    keep_going: bool = False,
) -> dict[str, Session]:
    """Write and ask everything that is not recorded yet.

    Args:
        systems: are asked in this order.
        plans: in the order in which their lines lie in the recorder.
        judge: of the answers.
        recorder: what is known already, and where new lines go: one for all systems, or one for
            each by its name.
        report: called with (what, done, total).
        keep_going: whether a failure is recorded in the place of the answers that it cost, so
            that other systems and plans are still run; otherwise it is raised.

    Returns:
        The last plan's sessions, by system, as its last question found them; of systems that
        remember and that read the text themselves. Empty if all of it was known.

    Raises:
        ConfigError: a system cannot do what the judge looks at.
        DamagedRunError: what is recorded is not what these plans give.
    """
    for system in systems:
        if judge.needs_scores and not issubclass(system.sessions, Scores):
            raise ConfigError("system", value=system.name, reason="it gives no likelihoods")
    return _Runner(systems, plans, judge, recorder, report, keep_going=keep_going).run()


class _Cursor:
    """How far the lines of a recorder have been passed, known ones or new ones."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.known = list(recorder.lines)
        self.at = 0

    def holds(self, lines: int) -> bool:
        """Whether so many more lines are known."""
        return self.at + lines <= len(self.known)

    def passes(self, head: Mapping[str, Any]) -> bool:
        """Go one line on; whether it was known, and the right one."""
        self.at += 1
        if self.at > len(self.known):
            return False
        if any(self.known[self.at - 1].get(name) != value for name, value in head.items()):
            raise self.damaged(self.at - 1)
        return True

    def damaged(self, index: int) -> DamagedRunError:
        return DamagedRunError(getattr(self.recorder, "path", "The run"), line=index + 2)


@dataclass(frozen=True)
class _Chosen(Reply):
    """An option, and how likely each of them was."""

    scores: tuple[tuple[float, int], ...] = ()


class _Failed:
    """In the place of a session that could not take in its text."""

    def __init__(self, error: str) -> None:
        self.error = error


class _Runner:
    def __init__(
        self,
        systems: Sequence[System],
        plans: Sequence[Plan],
        judge: Judge,
        recorder: Recorder | Mapping[str, Recorder],
        report: Report,
        *,
        keep_going: bool,
    ) -> None:
        self.plans = plans
        self.judge = judge
        self.report = report
        self.keep_going = keep_going
        if isinstance(recorder, Mapping):
            self.cursors = {system.name: _Cursor(recorder[system.name]) for system in systems}
        else:
            self.cursors = dict.fromkeys((system.name for system in systems), _Cursor(recorder))
        names = {system.name for system in systems}
        self.forgetful = [system for system in systems if not system.remembers]
        self.keeping = [system for system in systems if system.remembers]
        self.leading = [
            system
            for system in self.keeping
            if not (isinstance(system, Follows) and system.leader in names)
        ]
        self.read = self.asked = 0
        self.tokens = len(self.leading) * sum(plan.tokens for plan in plans)
        self.questions = sum(self._count(plan) for plan in plans)

    def _count(self, plan: Plan) -> int:
        """Questions of a plan, of all systems together."""
        many = len(list(plan.questions))
        return len(self.forgetful) * len(plan.once) + len(self.keeping) * many

    def run(self) -> dict[str, Session]:
        sessions: dict[str, Session] = {}
        for plan in self.plans:
            if self._knows(plan):
                self._pass_over(plan)
                sessions = {}
            else:
                sessions = self._run_plan(plan)
        for cursor in self.cursors.values():
            if cursor.at < len(cursor.known):
                raise cursor.damaged(cursor.at)
        return sessions

    def _lines(self, plan: Plan) -> Counter[_Cursor]:
        """Lines of a plan's answers, by where they lie."""
        lines: Counter[_Cursor] = Counter()
        for system in self.forgetful:
            lines[self.cursors[system.name]] += len(plan.once)
        for system in self.keeping:
            lines[self.cursors[system.name]] += len(list(plan.questions))
        return lines

    def _knows(self, plan: Plan) -> bool:
        """Whether all of a plan is recorded, the ends of its streams included."""
        lines = self._lines(plan)
        lines.update(self.cursors[system.name] for system in self.leading)
        return all(cursor.holds(count) for cursor, count in lines.items())

    def _pass_over(self, plan: Plan) -> None:
        for cursor, count in self._lines(plan).items():
            cursor.at += count
        for system in self.leading:
            self.cursors[system.name].passes(_end_of(plan, system))
        self.read += len(self.leading) * plan.tokens
        self.asked += self._count(plan)

    def _run_plan(self, plan: Plan) -> dict[str, Session]:
        for system in self.forgetful:
            self._ask(plan, system, system.open(plan.seed), plan.once)
        sessions: dict[str, Session | _Failed] = {
            system.name: system.open(plan.seed) for system in self.leading
        }
        seconds = dict.fromkeys(sessions, 0.0)
        written = 0
        for step in plan.steps:
            written += step.tokens
            for name, session in sessions.items():
                started = time.perf_counter()
                sessions[name] = self._written(session, step)
                seconds[name] += time.perf_counter() - started
            for system in self.keeping if step.questions else ():
                found = self._session(system, sessions)
                self._ask(plan, system, found, step.questions, written)
        for system in self.leading:
            end = _end_of(plan, system)
            cursor = self.cursors[system.name]
            if not cursor.passes(end):
                found = sessions[system.name]
                cursor.recorder.append(end | _ended(plan, found, seconds[system.name]))
        return {name: one for name, one in sessions.items() if not isinstance(one, _Failed)}

    def _session(
        self, system: System, sessions: Mapping[str, Session | _Failed]
    ) -> Session | _Failed:
        if not isinstance(system, Follows) or system.name in sessions:
            return sessions[system.name]
        leader = sessions[system.leader]
        return leader if isinstance(leader, _Failed) else system.follow(leader)

    def _written(self, session: Session | _Failed, step: Step) -> Session | _Failed:
        if isinstance(session, _Failed):
            return session
        try:
            self._write(session, step)
        except Exception as error:
            if not self.keep_going:
                raise
            return _Failed(_shown(error))
        return session

    def _write(self, session: Session, step: Step) -> None:
        groups = [step.pieces[i : i + _PIECES] for i in range(0, len(step.pieces), _PIECES)]
        for number, group in enumerate(groups, start=1):
            session.write(group, step.source)
            if number < len(groups):
                done = step.tokens * number // len(groups)
                self.report("reading", self.read + done, self.tokens)
        if step.flush:
            session.flush()
        self.read += step.tokens
        self.report("reading", self.read, self.tokens)

    def _ask(
        self,
        plan: Plan,
        system: System,
        session: Session | _Failed,
        questions: Sequence[Question],
        written: int = 0,
    ) -> None:
        """Ask in batches, each of them whole unless all of it is known: what is read in one batch
        is the same to the bit only in that batch.
        """
        cursor = self.cursors[system.name]
        for start in range(0, len(questions), system.questions_together):
            batch = questions[start : start + system.questions_together]
            self.asked += len(batch)
            heads = [
                {"plan": plan.name, "seed": plan.seed, "key": one.key, "system": system.name}
                for one in batch
            ]
            if cursor.holds(len(batch)):
                for head in heads:
                    cursor.passes(head)
            else:
                lines = self._lines_of(session, batch, written)
                for head, line in zip(heads, lines, strict=True):
                    if not cursor.passes(head):
                        cursor.recorder.append(head | line)
            self.report("asking", self.asked, self.questions)

    def _lines_of(
        self, session: Session | _Failed, batch: Sequence[Question], written: int
    ) -> list[dict[str, Any]]:
        if isinstance(session, _Failed):
            return [_lost(question, session.error) for question in batch]
        try:
            return self._answered(session, batch, exact_places=session.tokens == written)
        except Exception as error:
            if not self.keep_going:
                raise
            return [_lost(question, _shown(error)) for question in batch]

    def _answered(
        self, session: Session, batch: Sequence[Question], *, exact_places: bool
    ) -> list[dict[str, Any]]:
        started = time.perf_counter()
        replies = self._replies(session, batch)
        seconds = (time.perf_counter() - started) / len(batch)
        lines = []
        for question, reply in zip(batch, replies, strict=True):
            line = judged(self.judge, question, reply)
            line |= {"seconds": round(seconds, 4), "bytes": session.nbytes}
            if reply.confidence is not None:
                line["confidence"] = reply.confidence
            if reply.remark:
                line["remark"] = reply.remark
            if isinstance(reply, _Chosen):
                line["scores"] = [list(one) for one in reply.scores]
            line |= evidence_recall(reply, question.evidence, exact_places=exact_places)
            # A note's place is known in a system's tokens where these are the plan's.
            if question.told is not None and exact_places:
                line |= dict(_cited(reply, question.told))
                if isinstance(session, Recalls):
                    line |= dict(_probed(session, reply, question))
            lines.append(line)
        return lines

    def _replies(self, session: Session, batch: Sequence[Question]) -> list[Reply]:
        texts = [question.text for question in batch]
        longest, least = self.judge.max_new_tokens, self.judge.min_confidence
        if self.judge.explained and isinstance(session, Explains):
            return session.explain(texts, max_new_tokens=longest, min_confidence=least)
        if not isinstance(session, Scores) or not self.judge.scores:
            replies = session.ask(texts, max_new_tokens=longest)
            if self.judge.scores:
                return [_choosing(*one) for one in zip(replies, batch, strict=True)]
            return replies
        prompts = [
            one.text if one.answer_start is None else ChatPrompt(one.text, one.answer_start)
            for one in batch
        ]
        scores = session.score(prompts, [question.options for question in batch])
        return [
            _Chosen(max(zip(found, one.options))[1], declined=False, scores=tuple(found))
            for one, found in zip(batch, scores, strict=True)
        ]


def _choosing(reply: Reply, question: Question) -> Reply:
    """What a system that gives no likelihoods has chosen: the option that it named first."""
    said = reply.generated or reply.text
    labels = "|".join(re.escape(one.strip()) for one in question.options)
    found = re.search(rf"\b(?:{labels})\b", said)
    return replace(reply, text=found[0] if found else reply.text)


def _cited(reply: Reply, told: Told) -> Iterator[tuple[str, bool]]:
    """Whether the first piece of evidence holds some of what states the value, where it says so."""
    if reply.confidence is not None:
        start, end = told.stated
        best = reply.evidence[:1]
        yield (
            "cited",
            any(one.source == told.source and one.start < end and start < one.end for one in best),
        )


def _probed(
    session: Recalls, reply: Reply, question: Question
) -> Iterator[tuple[str, dict[str, Any] | float]]:
    assert question.told is not None
    found = session.recalled(reply, question.told)
    if found is not None:
        yield "rows", {name: asdict(one) for name, one in found.rows.items()}
        yield "by_chance", found.by_chance


def _end_of(plan: Plan, system: System) -> dict[str, Any]:
    return {"plan": plan.name, "key": "end", "system": system.name}


def _ended(plan: Plan, session: Session | _Failed, seconds: float) -> dict[str, Any]:
    if isinstance(session, _Failed):
        return {"tokens": plan.tokens, "error": session.error}
    return {"tokens": plan.tokens, "write_seconds": round(seconds, 3), "bytes": session.nbytes}


def _lost(question: Question, error: str) -> dict[str, Any]:
    """What is recorded where an answer should be: it is neither right nor wrong."""
    asked = {"kind": question.kind, "wanted": question.wanted, "distance": question.distance}
    return {**asked, "question": question.text, "error": error}


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def judged(judge: Judge, question: Question, reply: Reply) -> dict[str, Any]:
    """What is recorded of an answer: what was asked and said, and whether it is right.

    Args:
        judge: decides.
        question: what was asked; without answers it is right to decline.
        reply: what was said.
    """
    judge = judge if question.rule is None else replace(judge, rule=question.rule)
    withheld = judge.judges_withheld and reply.confidence is not None
    said = reply.generated if judge.takes_all or withheld else reply.text
    older = question.outdated
    credit = _credit(judge, question, said, declined=reply.declined)
    return {
        "kind": question.kind,
        "wanted": question.wanted,
        "distance": question.distance,
        "question": question.text,
        "answers": list(question.answers),
        "said": said,
        "right": credit >= judge.least,
        "credit": round(credit, 6),
        "declined": reply.declined,
        "outdated": older is not None and judge.right(said, [older]),
        **({"marks": list(question.marks)} if question.marks else {}),
    }


def _credit(judge: Judge, question: Question, said: str, *, declined: bool) -> float:
    if not question.answers:
        return float(declined)
    # Words by which a system declines may hold a label: "I have no note of that." is no "no".
    if judge.rule == "labels" and declined:
        return 0.0
    return judge.credit(said, question.answers, question.options)
