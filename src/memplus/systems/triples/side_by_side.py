"""Texts that do not depend on each other, gone on with side by side: one pass reads them all.

A pass of one token takes hardly less time than one of many tokens, since both go through all of the
weights. A job is a generator that yields what is to be decoded next and is sent what was said::

    def job(text: Continuation) -> Job[str]:
        said = yield Decoding(text, limit=64, ends={eos})
        return said.text

    for outcome in side_by_side(core, lora, (job(one) for one in texts)):
        print(outcome.value())

So many jobs are under way at a time; where one ends the next begins. The outcomes come in the order
of the jobs. A text is read without padding, with keys and values of its own (``passes.joint``), and
by rules of its own; what the others say leaves it alone but for rounding.

Shapes: n tokens of a pass, d hidden size, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from memplus.backbone.attention import Segment
from memplus.backbone.lora import Lora, under
from memplus.backbone.session import running
from memplus.backbone.text_cache import TextCache, in_common
from memplus.mplus.core import Core
from memplus.passes.joint import JointSession, OpenRead, ReadPiece
from memplus.passes.read import Prefix
from memplus.systems.triples.decoding import Continuation, Decoded, Decoding

__all__ = ["Job", "Outcome", "side_by_side"]

_JOBS = 16
"""Under way at a time, at most: a pass of more takes as much longer as it is larger."""
_LANES = 256
"""Under way or done, at most, while an earlier one is not."""
_OPEN_TOKENS = 4096
"""Tokens of the texts under way, with what may be said behind them, from which on none is begun."""
_PASS_TOKENS = 512
"""Tokens that one pass reads, at most."""

Result = TypeVar("Result")
Job = Generator[Decoding, Decoded, Result]
"""Yields what is to be decoded, is sent what was said, and returns what came of it. The texts that
it yields are its own, and all of one adapter."""


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What a job returned, or raised."""

    returned: tuple[Result, ...] = ()
    """One; none where it raised."""
    error: Exception | None = None

    def value(self) -> Result:
        """What it returned.

        Raises:
            Exception: what it raised.
        """
        if self.error is not None:
            raise self.error
        return self.returned[0]


def side_by_side(
    core: Core, lora: Lora | None, jobs: Iterable[Job[Result]]
) -> Iterator[Outcome[Result]]:
    """Carry out jobs.

    An error of one job is its outcome and leaves the others alone; one of a pass is raised.

    Args:
        core: the model.
        lora: the adapter of all texts; None: the decoder without any.
        jobs: begun when their turn comes.

    Returns:
        Their outcomes, in order, each as soon as it is known.
    """
    if core.backbone.rope.changing:  # a token's angles depend on the length of its text
        yield from (_alone(_Lane(job)) for job in jobs)
        return
    batch = _Batch(core, jobs)
    while batch.lanes:
        first = batch.lanes[0]
        if first.outcome is None:
            with under(core.backbone, lora), torch.no_grad():
                while first.outcome is None:
                    batch.step()
        assert first.outcome is not None
        batch.lanes.popleft()
        batch.fill()
        yield first.outcome


class _Lane(Generic[Result]):
    """A job, and what it is at."""

    decoding: Decoding
    """While there is no outcome."""

    def __init__(self, job: Job[Result]) -> None:
        self.job = job
        self.outcome: Outcome[Result] | None = None
        self.read: _TextRead | None = None
        """Of the decoding's text; None: it has to be begun."""
        self._resume(partial(next, job))

    def _resume(self, resume: Callable[[], Decoding]) -> None:
        """Let the job go on, up to where it needs a token, or to its end."""
        try:
            decoding = resume()
            while decoding.found is not None:
                decoding = self.job.send(decoding.found)
        except StopIteration as ended:
            self.outcome, self.read = Outcome((ended.value,)), None
        except Exception as error:
            self.outcome, self.read = Outcome(error=error), None
        else:
            self.decoding = decoding

    def run(self, work: Callable[[], object]) -> None:
        """Do something for the decoding; where it fails, the job does."""
        try:
            work()
        except Exception as error:
            self.read = None
            self._resume(partial(self.job.throw, error))
            return
        if self.decoding.found is not None:
            self._resume(partial(self.job.send, self.decoding.found))

    @property
    def tokens(self) -> int:
        """Of the text with what may be said behind it."""
        return len(self.decoding.text) + self.decoding.limit

    def follow(self) -> None:
        """Bring the read up to date with its text.

        Raises:
            EmptyTextError, PositionsError: see ``Continuation.scores``.
        """
        text = self.decoding.text
        text.check()
        if self.read is None or self.read.text is not text or not self.read.follow():
            self.read = _TextRead(text)


def _alone(lane: _Lane[Result]) -> Outcome[Result]:
    """Carry a job out by itself."""
    while lane.outcome is None:
        lane.run(lane.decoding.finish)
    return lane.outcome


class _Known(Prefix):
    """The beginning of a text, as it was computed before."""

    def __init__(self, known: TextCache, count: int) -> None:
        self._known = known
        self._count = count

    def shift(self, device: torch.device) -> Tensor:
        """[1]: the tokens that stand before."""
        return torch.tensor([self._count], device=device)

    def groups(self, layer: int) -> list[tuple[slice, list[Segment]]]:
        """The keys and values, which are shared with whoever goes on from them."""
        keys, values = self._known.layers[layer]
        return [(slice(None), [Segment(keys[:, :, : self._count], values[:, :, : self._count])])]


class _TextRead:
    """What passes have read of a text, behind what was known of it."""

    def __init__(self, text: Continuation) -> None:
        self.text = text
        known = text.known
        self._before = known.shared(text.ids)
        """Tokens that were known."""
        prefix = _Known(known, self._before) if self._before else Prefix()
        self._open = OpenRead(prefix, text.ids[self._before :])
        self._held = text.ids[: self._before]
        """The tokens whose keys and values are there."""

    def follow(self) -> bool:
        """Take back what stands in the text no longer, and its last token, which is read anew.

        Returns:
            False: nothing is left that a pass has read, so that the text has to be begun.
        """
        wanted = self.text.ids[:-1]
        if self._held == wanted[: len(self._held)]:
            return True
        same = in_common(self._held, wanted)
        del self._held[same:]
        self._open.read = same - self._before
        return same > self._before

    @property
    def unread(self) -> int:
        """Tokens that no pass has read."""
        return len(self.text) - len(self._held)

    def piece(self, most: int) -> ReadPiece:
        """The next tokens, so many at most."""
        start = len(self._held)
        return ReadPiece(self._open, tuple(self.text.ids[start : start + most]))

    def advance(self, piece: ReadPiece) -> None:
        """A pass has read a piece."""
        self._open.advance(len(piece.ids))
        self._held += piece.ids


class _Batch(Generic[Result]):
    """Jobs in their order: those under way, and those that are done and wait for an earlier one."""

    def __init__(self, core: Core, jobs: Iterable[Job[Result]]) -> None:
        self.core = core
        self.lanes: deque[_Lane[Result]] = deque()
        self._jobs = iter(jobs)
        self.fill()

    @property
    def _under_way(self) -> list[_Lane[Result]]:
        return [lane for lane in self.lanes if lane.outcome is None]

    def fill(self) -> None:
        """Begin jobs while there is room for them."""
        under_way = self._under_way
        count, tokens = len(under_way), sum(lane.tokens for lane in under_way)
        while count < _JOBS and tokens < _OPEN_TOKENS and len(self.lanes) < _LANES:
            job = next(self._jobs, None)
            if job is None:
                return
            lane = _Lane(job)
            self.lanes.append(lane)
            if lane.outcome is None:
                count, tokens = count + 1, tokens + lane.tokens

    def step(self) -> None:
        """Go on with every job by one pass."""
        self.fill()
        pieces: list[tuple[_Lane[Result], _TextRead, ReadPiece]] = []
        left = _PASS_TOKENS
        for lane in self._under_way:
            lane.run(lane.follow)
            if lane.read is not None and left > 0:
                piece = lane.read.piece(left)
                left -= len(piece.ids)
                pieces.append((lane, lane.read, piece))
        if not pieces:  # every one of them has failed
            return
        hidden, places = self._pass([piece for _, _, piece in pieces])
        for _, read, piece in pieces:
            read.advance(piece)
        ends = [
            (lane, place.stop - 1)
            for (lane, read, _), place in zip(pieces, places, strict=True)
            if not read.unread
        ]
        if ends:
            last = hidden[[place for _, place in ends]]
            scores = self.core.logits(last).float().log_softmax(dim=-1)
            for (lane, _), found in zip(ends, scores, strict=True):
                lane.run(partial(lane.decoding.take, found))

    def _pass(self, pieces: Sequence[ReadPiece]) -> tuple[Tensor, list[slice]]:
        """[n, d] after the final norm, and the place of each piece in it."""
        backbone = self.core.backbone
        session = JointSession(backbone, pieces)
        with running(backbone, session, None):  # the adapters of the memory rest
            output = backbone.decoder(**session.arguments())
        hidden: Tensor = output.last_hidden_state[0]
        return hidden, session.places
