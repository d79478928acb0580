"""A session of MemLong, whose questions may count in its bank."""

from __future__ import annotations

from collections.abc import Sequence

from memplus.systems.latent.reading import Said
from memplus.systems.latent.session import LatentSession
from memplus.systems.protocol import Reply

__all__ = ["MemLongSession"]


class MemLongSession(LatentSession):
    """See ``LatentSession``; its state is a ``MemLongState`` of one bank."""

    def ask(
        self, questions: Sequence[str], *, max_new_tokens: int | None = None, counts: bool = False
    ) -> list[Reply]:
        """See ``LatentSession.ask``.

        Args:
            questions: in plain words.
            max_new_tokens: most tokens of an answer; None: the system's own.
            counts: whether the chunks that each question is read with are counted as retrieved, so
                that a full bank keeps what was asked for (``eviction=counters``). By default
                nothing is, since asking changes nothing; the answers are the same.
        """
        said = self._said(questions, max_new_tokens)
        if counts:
            self._count(said)
        return [self._reply(one) for one in said]

    def _count(self, said: Sequence[Said]) -> None:
        """Each chunk once for each question, however often its answer had to be begun anew."""
        state = self.state
        for one in said:
            # A tail that is too long to be read with a question was moved into a copy of the
            # bank: its chunks are none of this bank's, and are found by no start of a chunk here.
            starts = {share.start for share in one.shares or ()}
            state = state.counted([bank.beginning_at(starts) for bank in state.banks])
        self.state = state
