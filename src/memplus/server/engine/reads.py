"""Which requests are answered together: they join at any token, and leave when they are done.

Everything here runs in the engine's thread but ``submit`` and the counts.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from torch import Tensor

from memplus.errors import OverloadedError
from memplus.mplus.joint_reader import JointReader, MemoryRead
from memplus.passes.joint import ReadPiece
from memplus.server.engine.answering import Answering
from memplus.server.engine.failures import told
from memplus.server.engine.handing import Outlet, hand_on
from memplus.server.engine.requests import EngineLimits, Finished, Piece, ReadRequest

__all__ = ["Reads"]


@dataclass(eq=False)
class _Asked:
    """A request and where its answer goes."""

    request: ReadRequest
    outlet: Outlet
    since: float = field(default_factory=time.monotonic)
    answering: Answering | None = None


class Reads:
    """The requests of an engine.

    Args:
        reader: reads with the model.
        limits: how many at a time.
        decode: token ids -> text, special tokens left out.
    """

    def __init__(
        self, reader: JointReader, limits: EngineLimits, decode: Callable[[list[int]], str]
    ) -> None:
        self.reader = reader
        self.limits = limits
        self._decode = decode
        self._lock = Lock()
        self._waiting: deque[_Asked] = deque()
        self._running: list[_Asked] = []
        self._seconds = 1.0
        """How long an answer takes, a running mean."""
        self.finished = self.cancelled = self.refused = self.failed = 0
        self.prompt_tokens = self.completion_tokens = 0

    # From any thread ----------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Requests that are answered."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._running or self._waiting)

    def submit(self, request: ReadRequest, outlet: Outlet) -> None:
        """Take a request in.

        Raises:
            OverloadedError: too many wait already.
        """
        with self._lock:
            if len(self._waiting) >= self.limits.waiting:
                self.refused += 1
                reason = f"{len(self._waiting)} requests wait already"
                raise OverloadedError(reason=reason, retry_after=self._retry_after())
            self._waiting.append(_Asked(request, outlet))

    def _retry_after(self) -> int:
        """Seconds in which those that wait will probably have begun."""
        rounds = (len(self._waiting) + 1) / self.limits.running
        return max(1, math.ceil(rounds * self._seconds))

    # In the engine's thread ---------------------------------------------------------------------

    def step(self) -> None:
        """Read one pass for all that run, those included that can begin."""
        self._leave()
        self._admit()
        self._find()
        pieces = self._pieces()
        if pieces:
            self._pass(pieces)

    def fail_all(self, error: BaseException) -> None:
        """End every request with an error."""
        with self._lock:
            ended = [*self._running, *self._waiting]
            self._waiting.clear()
        for asked in ended:
            self._end(asked, error)

    def _leave(self) -> None:
        """Let go of what nobody wants, and refuse what has waited too long."""
        now = time.monotonic()
        with self._lock:
            late = [
                asked
                for asked in self._waiting
                if asked.outlet.unwanted or now - asked.since > self.limits.waiting_seconds
            ]
            for asked in late:
                self._waiting.remove(asked)
        for asked in [*late, *(one for one in self._running if one.outlet.unwanted)]:
            if asked.outlet.unwanted:
                self.cancelled += 1
                self._forget(asked)
                continue
            reason = f"no place came free in {self.limits.waiting_seconds:g} seconds"
            self.refused += 1
            asked.outlet.put(OverloadedError(reason=reason, retry_after=self._retry_after()))

    def _admit(self) -> None:
        """Begin with those that wait, while there is a place and prompts are not too long."""
        unread = sum(self._unread(asked) for asked in self._running)
        while len(self._running) < self.limits.running and unread < self.limits.prefill_tokens:
            with self._lock:
                if not self._waiting:
                    return
                asked = self._waiting.popleft()
            self._running.append(asked)
            asked.outlet.waited = time.monotonic() - asked.since
            try:
                asked.answering = Answering(self.reader, asked.request, self._decode)
            except Exception as error:
                self._end(asked, told(error))
                continue
            unread += self._unread(asked)

    def _find(self) -> None:
        """Read on in what new prompts ask for, so much as the limits allow."""
        left, found = self.limits.prefill_tokens, list[tuple[_Asked, MemoryRead, int]]()
        for asked in self._running:
            assert asked.answering is not None
            read = asked.answering.read
            if read.question is not None and left > 0:
                found.append((asked, read, left))
                left -= read.question.unread
        try:
            if found:
                self.reader.find([(read, most) for _, read, most in found])
        except Exception:
            for asked, read, most in found:
                try:
                    if read.question is not None:
                        self.reader.find([(read, most)])
                except Exception as error:
                    self._end(asked, told(error))

    @staticmethod
    def _unread(asked: _Asked) -> int:
        return 0 if asked.answering is None else asked.answering.read.unread

    def _pieces(self) -> list[tuple[_Asked, ReadPiece]]:
        """The next token of every answer, and of prompts so much as the limits allow."""
        left, found = self.limits.prefill_tokens, []
        for asked in self._running:
            assert asked.answering is not None
            unread = bool(asked.answering.read.unread)
            if asked.answering.read.question is not None or (unread and left <= 0):
                continue
            piece = asked.answering.piece(left)
            left -= len(piece.ids) if unread else 0
            found.append((asked, piece))
        return found

    def _pass(self, pieces: Sequence[tuple[_Asked, ReadPiece]]) -> None:
        """One pass; where it fails, one for each request, so that only those fail that cause it."""
        for asked, piece in pieces:
            left = max(0, self._unread(asked) - len(piece.ids))
            # A memory's waiting text is read before the prompt, and is none of it.
            asked.outlet.read = max(0, len(asked.request.ids) - left)
        try:
            results = self.reader.step([piece for _, piece in pieces])
        except Exception as error:
            if len(pieces) == 1:
                self._end(pieces[0][0], told(error))
                return
            for one in pieces:
                self._pass([one])
            return
        given: list[tuple[Outlet, Piece | Finished | BaseException]] = []
        for (asked, _), logits in zip(pieces, results, strict=True):
            if logits is not None:
                given += [(asked.outlet, item) for item in self._taken(asked, logits)]
        hand_on(given)

    def _taken(self, asked: _Asked, logits: Tensor) -> Sequence[Piece | Finished | BaseException]:
        """What an answer gives after its logits; the request is let go of at its end."""
        assert asked.answering is not None
        try:
            given = asked.answering.take(logits)
        except Exception as error:
            self.failed += 1
            self._forget(asked)
            return [told(error)]
        asked.outlet.generated = asked.answering.count
        if given and isinstance(given[-1], Finished):
            self._count(asked, given[-1])
            self._forget(asked)
        return given

    def _count(self, asked: _Asked, end: Finished) -> None:
        self.finished += 1
        self.prompt_tokens += end.prompt_tokens
        self.completion_tokens += end.completion_tokens
        taken = time.monotonic() - asked.since
        self._seconds += 0.1 * (taken - self._seconds)

    def _end(self, asked: _Asked, error: BaseException) -> None:
        self.failed += 1
        self._forget(asked)
        asked.outlet.put(error)

    def _forget(self, asked: _Asked) -> None:
        if asked in self._running:
            self._running.remove(asked)
