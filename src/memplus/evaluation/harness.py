"""What lm-evaluation-harness asks of a model, answered by a system of remembering.

A context is cut in two: its beginning goes to the memory, and what is left is asked, or stands
before what is scored. Where it is cut belongs to the result. Requests are known here by their shape
alone; ``memplus.lm_eval`` makes the model known to the harness.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import memplus
from memplus.data.stream import Reference
from memplus.errors import ConfigError
from memplus.systems.protocol import ChatPrompt, Likelihood, Scores, Session, System

__all__ = ["Cost", "Cut", "HarnessModel", "Request", "Settings"]

_START = "\n"
"""Stands before what has nothing before it, so that its first token is predicted too."""
_LONGEST = 256
"""Most tokens of an answer where a task does not say."""
_GREEDY = {"do_sample": (None, False), "temperature": (None, 0), "num_beams": (None, 1)}
"""What a task may ask of generation, for which the answer is the most likely one. A temperature
has no effect where a task says that it does not sample."""
_WITHOUT_EFFECT = {"until", "top_p", "top_k"}
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class Request(Protocol):
    """One request of the harness."""

    @property
    def args(self) -> tuple[Any, ...]:
        """(context, continuation), (text,) or (context, options of generation)."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the part of a context ends that goes to the memory."""

    marker: str = ""
    """All before the last place where this stands goes to the memory."""
    last_tokens: int | None = None
    """All but so many tokens does; nothing of a context that has no more."""
    keep_marker: bool = True
    """Whether the marker itself is asked with the rest."""

    def __post_init__(self) -> None:
        """Refuse what does not say where.

        Raises:
            ConfigError: none or both of the ways are given, or no token is left to ask.
        """
        if bool(self.marker) == (self.last_tokens is not None):
            reason = "give either it or last_tokens, which says what goes to the memory"
            raise ConfigError("marker", value=self.marker, reason=reason)
        if self.last_tokens is not None and self.last_tokens < 1:
            raise ConfigError("last_tokens", value=self.last_tokens, reason="it is less than 1")

    def parts(self, context: str, reference: Reference) -> tuple[str, str]:
        """What goes to the memory, and the rest.

        Args:
            context: all of it.
            reference: counts its tokens.

        Raises:
            ConfigError: the marker stands nowhere in it.
        """
        if self.last_tokens is not None:
            (ends,) = reference([context])
            at = ends[-self.last_tokens - 1] if len(ends) > self.last_tokens else 0
            return context[:at], context[at:]
        at = context.rfind(self.marker)
        if at < 0:
            reason = f"it stands nowhere in the context {context[-60:]!r}"
            raise ConfigError("marker", value=self.marker, reason=reason)
        return context[:at], context[at if self.keep_marker else at + len(self.marker) :]


@dataclass(frozen=True, slots=True)
class Settings:
    """How requests are put to a system."""

    seed: int = 0
    """Of every session."""
    batch: int = 8
    """Most questions about one memory that are asked together."""
    window: int = 256
    """Tokens that are predicted at once where a whole text is scored."""
    template: bool = False
    """Whether what is scored follows a question in the model's template; what is generated always
    does."""
    flush: bool = False
    """Whether what fills no chunk is taken in too; it else stays as text before what is asked."""

    def __post_init__(self) -> None:
        """Refuse sizes below 1.

        Raises:
            ConfigError: one is.
        """
        for name in ("batch", "window"):
            if getattr(self, name) < 1:
                raise ConfigError(name, value=getattr(self, name), reason="it is less than 1")


@dataclass
class Cost:
    """What all requests so far have taken."""

    sessions: int = 0
    tokens: int = 0
    """Written, of all sessions together, in the system's own tokens."""
    write_seconds: float = 0.0
    answers: int = 0
    answer_seconds: float = 0.0
    most_bytes: int = 0
    """Of the largest session."""

    def add_session(self, session: Session) -> None:
        """Count a session that was written to the end."""
        self.sessions += 1
        self.tokens += session.tokens
        self.most_bytes = max(self.most_bytes, session.nbytes)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        rounded = {name: round(getattr(self, name), 3) for name in _SECONDS}
        return {**asdict(self), **rounded}


_SECONDS = ("write_seconds", "answer_seconds")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, cut."""

    place: int
    """Among the requests."""
    told: str
    rest: str
    wanted: str = ""
    """What is scored."""
    longest: int = _LONGEST
    until: tuple[str, ...] = ()


@dataclass
class HarnessModel:
    """The three kinds of request, answered by sessions of one system.

    Contexts that begin with the same told text share a session.

    Args:
        system: answers.
        reference: counts tokens.
        cut: of every context.
        settings: how it is asked.
        answered: called with (kind of request, its arguments, answer) as answers come, which is
            not the order of the requests.
    """

    system: System
    reference: Reference
    cut: Cut
    settings: Settings = field(default_factory=Settings)
    answered: Callable[[str, tuple[Any, ...], object], None] = lambda kind, args, answer: None
    cost: Cost = field(default_factory=Cost)

    @property
    def identity(self) -> dict[str, Any]:
        """All that a result depends on beside the task, as JSON values."""
        return {
            "memplus": memplus.__version__,
            "system": self.system.name,
            "system_model": self.system.model,
            "system_identity": dict(self.system.identity),
            "cut": asdict(self.cut),
            "settings": asdict(self.settings),
        }

    def generate_until(self, requests: Sequence[Request]) -> list[str]:
        """Greedy answers, each cut before the first of its stops.

        What is left of a context is put as ``Session.ask`` puts a question.

        Raises:
            ConfigError: a context cannot be cut, nothing of it is left to ask, or a task wants an
                answer that is not the most likely one, or has no token.
        """
        asked = []
        for place, request in enumerate(requests):
            context, options = request.args
            told, rest = self.cut.parts(context, self.reference)
            if not rest.strip():
                reason = f"it leaves nothing to ask of the context {context[-60:]!r}"
                raise ConfigError("marker", value=self.cut.marker, reason=reason)
            longest, until = _generation(options)
            asked.append(_Asked(place, told, rest, longest=longest, until=until))
        answers = [""] * len(asked)
        for told, group in _grouped(asked, lambda one: one.told):
            session = self._told(told)
            for batch in self._batches(group):
                for one, answer in zip(batch, self._generated(session, batch), strict=True):
                    answers[one.place] = answer
                    self.answered("generate_until", requests[one.place].args, answer)
        return answers

    def loglikelihood(self, requests: Sequence[Request]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether it is what would be generated.

        An empty continuation is certain: its log-probability is 0.

        Raises:
            ConfigError: the system gives no likelihoods, or a context cannot be cut.
        """
        self._require_scores()
        asked = []
        found = [(0.0, True)] * len(requests)
        for place, request in enumerate(requests):
            context, continuation = request.args
            told, rest = ("", "")
            if context:
                told, rest = self.cut.parts(context, self.reference)
            one = self._scored(_Asked(place, told, rest, continuation))
            if continuation and one.wanted:
                asked.append(one)
            else:
                self.answered("loglikelihood", request.args, found[place])
        for told, group in _grouped(asked, lambda one: one.told):
            session = self._told(told)
            for rest, options in _grouped(group, lambda one: one.rest):
                scores = self._scores(session, rest, [one.wanted for one in options])
                for one, score in zip(options, scores, strict=True):
                    found[one.place] = (score[0], score.greedy)
                    args = requests[one.place].args
                    self.answered("loglikelihood", args, found[one.place])
        return found

    def loglikelihood_rolling(self, requests: Sequence[Request]) -> list[float]:
        """Log-probability of each text, every token predicted once.

        A window is predicted after the one before it, which stands in the prompt; the memory holds
        all that comes before these two.

        Raises:
            ConfigError: the system gives no likelihoods.
        """
        self._require_scores()
        found = []
        for request in requests:
            (text,) = request.args
            found.append(self._rolled(text))
            self.answered("loglikelihood_rolling", request.args, found[-1])
        return found

    def _rolled(self, text: str) -> float:
        (ends,) = self.reference([text])
        size = self.settings.window
        borders = sorted({0, *ends[size - 1 :: size], *ends[-1:]})
        windows = [text[start:end] for start, end in pairwise(borders)]
        session = self.system.open(self.settings.seed)
        total = 0.0
        for place, window in enumerate(windows):
            if place > 1:
                self._write(session, windows[place - 2])
            before = windows[place - 1] if place else _START
            (score,) = self._scores(session, before, [window], raw=True)
            total += score[0]
        self.cost.add_session(session)
        return total

    def _told(self, told: str) -> Session:
        session = self.system.open(self.settings.seed)
        if told:
            self._write(session, told, flush=self.settings.flush)
        self.cost.add_session(session)
        return session

    def _write(self, session: Session, text: str, *, flush: bool = False) -> None:
        started = time.perf_counter()
        session.write(text, "context")
        if flush:
            session.flush()
        self.cost.write_seconds += time.perf_counter() - started

    def _batches(self, group: Sequence[_Asked]) -> Iterator[list[_Asked]]:
        """Questions that are asked together: as many as may be, of one length."""
        for _, same in _grouped(group, lambda one: str(one.longest)):
            for start in range(0, len(same), self.settings.batch):
                yield same[start : start + self.settings.batch]

    def _generated(self, session: Session, batch: Sequence[_Asked]) -> list[str]:
        started = time.perf_counter()
        questions = [one.rest for one in batch]
        replies = session.ask(questions, max_new_tokens=batch[0].longest)
        self._count(len(batch), started)
        return [
            _until(reply.generated or reply.text, one.until)
            for one, reply in zip(batch, replies, strict=True)
        ]

    def _scored(self, asked: _Asked) -> _Asked:
        """As the system is to see it: a space between the two belongs to what is scored."""
        rest = asked.rest.rstrip()
        if self.settings.template and rest:
            return replace(asked, wanted=asked.wanted.lstrip())
        moved = asked.rest[len(rest) :] if rest else ""
        return replace(asked, rest=rest or asked.rest or _START, wanted=moved + asked.wanted)

    def _scores(
        self, session: Session, rest: str, options: list[str], *, raw: bool = False
    ) -> list[Likelihood]:
        assert isinstance(session, Scores)
        started = time.perf_counter()
        asks = self.settings.template and not raw and rest.strip()
        prompt = ChatPrompt(rest) if asks else rest
        (scores,) = session.score([prompt], [options])
        self._count(len(options), started)
        found = [one for one in scores if isinstance(one, Likelihood)]
        if len(found) < len(scores):
            reason = "it does not say whether a text is what it would generate"
            raise ConfigError("system", value=self.system.name, reason=reason)
        return found

    def _count(self, answers: int, started: float) -> None:
        self.cost.answers += answers
        self.cost.answer_seconds += time.perf_counter() - started

    def _require_scores(self) -> None:
        if not issubclass(self.system.sessions, Scores):
            reason = "it gives no likelihoods; tasks that generate can be asked of it"
            raise ConfigError("system", value=self.system.name, reason=reason)


def _grouped(
    asked: Sequence[_Asked], by: Callable[[_Asked], str]
) -> Iterator[tuple[str, list[_Asked]]]:
    groups: dict[str, list[_Asked]] = defaultdict(list)
    for one in asked:
        groups[by(one)].append(one)
    yield from groups.items()


def _generation(options: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Most tokens of an answer, and what ends it.

    Raises:
        ConfigError: something else than the most likely answer is wanted, or no token of it.
    """
    without_effect = {*_WITHOUT_EFFECT, *_LENGTHS}
    if options.get("do_sample") is False:
        without_effect.add("temperature")
    for name, value in options.items():
        if name in without_effect:
            continue
        if name in _GREEDY and value not in _GREEDY[name]:
            raise ConfigError(name, value=value, reason="answers here are the most likely ones")
        if name not in _GREEDY:
            raise ConfigError(name, value=value, reason="no such option of generation is known")
    lengths = ((name, options[name]) for name in _LENGTHS if options.get(name) is not None)
    name, longest = next(lengths, (_LENGTHS[0], _LONGEST))
    if int(longest) < 1:
        raise ConfigError(name, value=longest, reason="an answer has at least one token")
    until = options.get("until") or ()
    stops = [until] if isinstance(until, str) else list(until)
    return int(longest), tuple(stop for stop in stops if stop)


def _until(text: str, stops: Sequence[str]) -> str:
    """The text before the first of its stops."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
