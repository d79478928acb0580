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
from itertools import islice
from typing import Any, TypeVar

from memplus.data.stream import Told
from memplus.errors import ConfigError
from memplus.evaluation.engine.evidence_recall import evidence_recall
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.engine.recorder import Cursor, InMemory, Recorder
from memplus.systems.protocol import (
    ChatPrompt,
    Converses,
    Explains,
    Follows,
    Likelihood,
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
_T = TypeVar("_T")


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
        names = [system.name for system in systems]
        if isinstance(recorder, Mapping):
            self.cursors = {
                name: Cursor(recorder[name], scored=judge.needs_scores) for name in names
            }
        else:
            self.cursors = dict.fromkeys(names, Cursor(recorder, scored=judge.needs_scores))
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
        ends = {(plan.name, one.name) for plan in self.plans for one in self.keeping}
        for cursor in self.cursors.values():
            cursor.require_no_more(ends)
        return sessions

    def _answers(self, plan: Plan) -> Iterator[tuple[System, Question]]:
        """Who is asked what in a plan, in the order of its lines."""
        yield from ((system, one) for system in self.forgetful for one in plan.once)
        for step in plan.steps:
            yield from ((system, one) for system in self.keeping for one in step.questions)

    def _knows(self, plan: Plan) -> bool:
        """Whether all of a plan is recorded, the ends of its streams included."""
        lines = Counter(self.cursors[system.name] for system, _ in self._answers(plan))
        return all(cursor.holds(count) for cursor, count in lines.items()) and all(
            self.cursors[system.name].ended(plan.name, system.name) for system in self.leading
        )

    def _pass_over(self, plan: Plan) -> None:
        for system, question in self._answers(plan):
            self.cursors[system.name].passes(_head(plan, system, question))
        self.read += len(self.leading) * plan.tokens
        self.asked += self._count(plan)

    def _run_plan(self, plan: Plan) -> dict[str, Session]:
        for system in self.forgetful:
            self._ask(plan, system, self._opened(system, plan), plan.once)
        sessions = {system.name: self._opened(system, plan) for system in self.leading}
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
            cursor = self.cursors[system.name]
            if not cursor.ended(plan.name, system.name):
                end = self._ended(plan, sessions[system.name], seconds[system.name])
                cursor.ends_with(plan.name, system.name, end)
        return {name: one for name, one in sessions.items() if not isinstance(one, _Failed)}

    def _session(
        self, system: System, sessions: Mapping[str, Session | _Failed]
    ) -> Session | _Failed:
        if not isinstance(system, Follows) or system.name in sessions:
            return sessions[system.name]
        leader = sessions[system.leader]
        if isinstance(leader, _Failed):
            return leader
        return self._kept(lambda: system.follow(leader))

    def _opened(self, system: System, plan: Plan) -> Session | _Failed:
        return self._kept(lambda: system.open(plan.seed))

    def _written(self, session: Session | _Failed, step: Step) -> Session | _Failed:
        if isinstance(session, _Failed):
            return session
        return self._kept(lambda: self._write(session, step))

    def _kept(self, make: Callable[[], _T]) -> _T | _Failed:
        """What is made; in its place the failure, if the run goes on after one."""
        try:
            return make()
        except Exception as error:
            if not self.keep_going:
                raise
            return _Failed(f"{type(error).__name__}: {error}")

    def _write(self, session: Session, step: Step) -> Session:
        if step.turns and isinstance(session, Converses):
            _tell(session, step)
            groups = []
        else:
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
        return session

    def _ended(self, plan: Plan, session: Session | _Failed, seconds: float) -> dict[str, Any]:
        held = session if isinstance(session, _Failed) else self._kept(lambda: session.nbytes)
        if isinstance(held, _Failed):
            return {"tokens": plan.tokens, "error": held.error}
        return {"tokens": plan.tokens, "write_seconds": round(seconds, 3), "bytes": held}

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
            heads = [_head(plan, system, one) for one in batch]
            if cursor.holds(len(batch)):
                for head in heads:
                    cursor.passes(head)
            else:
                lines = self._lines_of(session, batch, written)
                for head, line in zip(heads, lines, strict=True):
                    cursor.takes(head, line)
            self.report("asking", self.asked, self.questions)

    def _lines_of(
        self, session: Session | _Failed, batch: Sequence[Question], written: int
    ) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] | _Failed
        if isinstance(session, _Failed):
            lines = session
        else:
            lines = self._kept(lambda: self._answered(session, batch, written))
        if isinstance(lines, _Failed):
            return [_lost(question, lines.error) for question in batch]
        return lines

    def _answered(
        self, session: Session, batch: Sequence[Question], written: int
    ) -> list[dict[str, Any]]:
        exact_places = session.tokens == written
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
            _Chosen(
                max(zip(found, one.options))[1],
                declined=False,
                remark=next((one.remark for one in found if isinstance(one, Likelihood)), ""),
                scores=tuple(found),
            )
            for one, found in zip(batch, scores, strict=True)
        ]


def _tell(session: Converses, step: Step) -> None:
    """Tell a dialogue by its turns, as the pieces that others are written."""
    left = iter(step.pieces)
    for said, answered in step.turns:
        session.tell([*islice(left, said)], [*islice(left, answered)], step.source)


def _choosing(reply: Reply, question: Question) -> Reply:
    """What a system that gives no likelihoods has chosen: the option that it named first."""
    said = reply.generated or reply.text
    labels = "|".join(re.escape(one.strip()) for one in question.options)
    # "A careful look shows that Segment B came first." names B: its first word is the article.
    patterns = (rf"\b(?i:segment) ({labels})\b", rf"\b({labels})\b")
    found = next((one for pattern in patterns if (one := re.search(pattern, said))), None)
    return replace(reply, text=found[1] if found else reply.text)


def _cited(reply: Reply, told: Told) -> Iterator[tuple[str, bool]]:
    """Whether the first piece of evidence holds some of what states the value, where it says so."""
    if reply.confidence is not None and reply.evidence is not None:
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


def _head(plan: Plan, system: System, question: Question) -> dict[str, Any]:
    """What tells an answer's line from all others."""
    return {"plan": plan.name, "seed": plan.seed, "key": question.key, "system": system.name}


def _lost(question: Question, error: str) -> dict[str, Any]:
    """What is recorded where an answer should be: it is neither right nor wrong."""
    asked = {"kind": question.kind, "wanted": question.wanted, "distance": question.distance}
    return {**asked, "question": question.text, "error": error}


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
