"""Text that a stock decoder goes on with, token by token, under an adapter that a system chooses.

``Continuation`` is the text so far with its key/value cache: it can be appended to, and taken back.
``decode`` goes on greedily until a text has been said, an end token is the best one, or a limit is
reached; whoever needs another rule of choosing (late stopping, a ban on some token) gives one.
Many texts that do not depend on each other are gone on with together: ``side_by_side.py``::

    with text.active():                      # the adapter, for this thread
        found = decode(text, limit=64, stops=("}:",), ends={eos})
        if found.stop == "}:":
            text.extend(result_ids)          # splice tokens in
            answer = decode(text, limit=32, ends={eos})

Shapes: V vocabulary, n tokens.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from memplus.backbone.lora import Lora, under
from memplus.backbone.text_cache import TextCache
from memplus.errors import EmptyTextError, PositionsError
from memplus.mplus.core import Core
from memplus.systems.protocol import Likelihood

__all__ = [
    "END",
    "LIMIT",
    "Choose",
    "Continuation",
    "Decoded",
    "Decoding",
    "decode",
    "greedy",
    "never",
]

END, LIMIT = "end", "limit"
"""Why decoding stopped, where it was no text."""

Choose = Callable[[Tensor], int | None]
"""The log-probabilities [V] of the next token -> the token that is taken; None: decoding ends."""


def greedy(scores: Tensor) -> int:
    """The best token."""
    return int(scores.argmax())


def never(tokens: Collection[int], choose: Choose = greedy) -> Choose:
    """``choose`` among all tokens but these."""
    barred = torch.tensor(sorted(tokens), dtype=torch.int64)

    def chosen(scores: Tensor) -> int | None:
        return choose(scores.index_fill(0, barred.to(scores.device), -torch.inf))

    return chosen


class Continuation:
    """A text of the stock decoder under one adapter, with the cache of what was read.

    Args:
        core: the model; its memory takes no part.
        lora: the adapter; None: the decoder without any, the memory's own included.
        ids: the text so far.
    """

    def __init__(self, core: Core, lora: Lora | None, ids: Sequence[int] = ()) -> None:
        self.core = core
        self.lora = lora
        self.ids: list[int] = list(ids)
        self._cache: Any = None
        self._read = 0
        """Tokens that the cache holds."""
        self._shares = False
        """Whether another text has the same cache, which then nobody changes."""
        self._entered = False

    def __len__(self) -> int:
        return len(self.ids)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Keep the adapter in place for several steps: entering it takes a while."""
        if self._entered:
            yield
            return
        with under(self.core.backbone, self.lora), torch.no_grad():
            self._entered = True
            try:
                yield
            finally:
                self._entered = False

    def encode(self, text: str) -> list[int]:
        """Token ids of a text by itself, without special tokens."""
        return self.core.encode(text) if text else []

    def extend(self, ids: Sequence[int]) -> None:
        """Put tokens behind the text, whoever chose them."""
        self.ids += ids

    def rewind(self, length: int) -> None:
        """Take away all but the first ``length`` tokens."""
        del self.ids[length:]
        if self._read <= length:
            return
        if self._cache is not None and length and _can_be_cut(self.core):
            self._own_cache()
            self._cache.crop(length - self._read)  # by so many tokens less
            self._read = length
        else:
            self._cache, self._read, self._shares = None, 0, False

    def fork(self) -> Continuation:
        """The same text, going its own way; what was read is not read again."""
        other = Continuation(self.core, self.lora, self.ids)
        other._cache, other._read = self._cache, self._read
        self._shares = other._shares = True
        return other

    @property
    def known(self) -> TextCache:
        """What was computed of its beginning, where that can be gone on with at any token."""
        if self._cache is None or not _can_be_cut(self.core):
            return TextCache()
        return TextCache.of(self.ids[: self._read], self._cache)

    def _own_cache(self) -> None:
        """Share the cache with no other text."""
        if self._shares:
            self._cache, self._shares = copy.deepcopy(self._cache), False

    def text(self, start: int = 0) -> str:
        """What the tokens from ``start`` on say."""
        return self.core.decode(self.ids[start:])

    def check(self) -> None:
        """Refuse a text that no pass can read.

        Raises:
            EmptyTextError, PositionsError: see ``scores``.
        """
        needed, available = len(self.ids), self.core.positions
        if needed > available:
            raise PositionsError(needed=needed, available=available)
        if not self.ids:
            raise EmptyTextError("The prompt")

    @torch.no_grad()
    def scores(self) -> Tensor:
        """Log-probabilities [V] of the next token, float32.

        Raises:
            EmptyTextError: there is no token before it.
            PositionsError: the text is longer than the decoder has positions for.
        """
        hidden = self._hidden(len(self.ids) - 1)
        return self.core.logits(hidden[-1:]).float().log_softmax(dim=-1)[0]

    @torch.no_grad()
    def likelihood(self, ids: Sequence[int]) -> Likelihood:
        """How likely some tokens are behind the text, which stays as it is.

        Where the text is empty the first of them is given, not predicted.

        Raises:
            EmptyTextError: no token is to be predicted.
            PositionsError: see ``scores``.
        """
        found = self.predicted(ids)
        wanted = torch.tensor(ids[len(ids) - len(found) :], device=self.core.device)
        chances = found.gather(1, wanted[:, None])[:, 0]
        greedy = bool(found.argmax(dim=-1).equal(wanted))
        return Likelihood(float(chances.sum()), len(found), greedy=greedy)

    @torch.no_grad()
    def predicted(self, ids: Sequence[int]) -> Tensor:
        """Log-probabilities [n, V] in place of each of some tokens behind the text, which stays.

        Where the text is empty the first of them is given, not predicted.

        Raises:
            EmptyTextError: no token is to be predicted.
            PositionsError: see ``scores``.
        """
        given = len(self.ids)
        count = len(ids) if given else len(ids) - 1
        if count < 1:
            raise EmptyTextError("The option")
        self.ids += ids
        try:
            hidden = self._hidden(len(self.ids) - count - 1)[:count]
        finally:
            self.rewind(given)
        return self.core.logits(hidden).float().log_softmax(dim=-1)

    def _hidden(self, first: int) -> Tensor:
        """[n, d] of the tokens from ``first`` to the last, after the final norm."""
        self.check()
        if self._read > first:  # what was read before has to be read again
            ids, self.ids = self.ids, self.ids[:first]
            self.rewind(first)
            self.ids = ids
        self._own_cache()
        with self.active():
            output = self.core.backbone.decoder(
                input_ids=torch.tensor([self.ids[self._read :]], device=self.core.device),
                past_key_values=self._cache,
                use_cache=True,
            )
        self._cache = output.past_key_values
        hidden: Tensor = output.last_hidden_state[0, first - self._read :]
        self._read = len(self.ids)
        return hidden


def _can_be_cut(core: Core) -> bool:
    """Whether the library's cache can forget its end: one of a sliding window cannot."""
    return getattr(core.backbone.config, "sliding_window", None) is None


@dataclass(frozen=True)
class Decoded:
    """What was said."""

    ids: tuple[int, ...]
    """Of the tokens that were appended."""
    text: str
    """What they say, the text that stopped them included."""
    stop: str
    """The text that was said, ``END`` or ``LIMIT``."""
    log_probs: tuple[float, ...]
    """Of each token when it was chosen."""
    cut: str = ""
    """What the last token said beyond the text that stopped it, and was taken away."""


@dataclass
class Decoding:
    """A text that is being gone on with: ``decode`` says what its fields mean."""

    text: Continuation
    limit: int
    stops: Sequence[str] = ()
    ends: Collection[int] = ()
    choose: Choose = greedy
    found: Decoded | None = field(default=None, init=False)
    """What was said; None: there is more to come."""
    _start: int = field(default=0, init=False)
    _scores: list[float] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._start = len(self.text)
        if self.limit < 1:
            self._end(LIMIT)

    def take(self, scores: Tensor) -> None:
        """Go on by one token, or end.

        Args:
            scores: log-probabilities [V] of the token behind the text.
        """
        token = self.choose(scores)
        if token is None or token in self.ends:
            self._end(END)
            return
        self.text.extend([token])
        self._scores.append(float(scores[token]))
        stop, cut = _said(self.text, self._start, self.stops)
        if stop:
            self._end(stop, cut)
        elif len(self.text) - self._start >= self.limit:
            self._end(LIMIT)

    def finish(self) -> Decoded:
        """Go on to the end, this text alone.

        Raises:
            EmptyTextError, PositionsError: see ``Continuation.scores``.
        """
        with self.text.active():
            while self.found is None:
                self.take(self.text.scores())
        return self.found

    def _end(self, stop: str, cut: str = "") -> None:
        ids, said = tuple(self.text.ids[self._start :]), self.text.text(self._start)
        self.found = Decoded(ids, said, stop, tuple(self._scores), cut)


def decode(
    text: Continuation,
    *,
    limit: int,
    stops: Sequence[str] = (),
    ends: Collection[int] = (),
    choose: Choose = greedy,
) -> Decoded:
    """Go on with a text, which grows by what is said.

    Args:
        text: to go on with.
        limit: most tokens.
        stops: texts; decoding stops as soon as one of them has been said, and whatever else its
            last token said is taken away.
        ends: tokens; decoding stops before the first of them.
        choose: which token is taken.

    Raises:
        EmptyTextError, PositionsError: see ``Continuation.scores``.
    """
    return Decoding(text, limit, stops, ends, choose).finish()


def _said(text: Continuation, start: int, stops: Sequence[str]) -> tuple[str, str]:
    """The first of the texts that the last token has completed, if any, and what is cut off.

    A tokenizer may join a stop's end with what follows: the text is then cut behind the stop.
    """
    if not stops:
        return "", ""
    said = text.text(start)
    before = len(text.core.decode(text.ids[start:-1]))
    places = {}
    for stop in stops:
        place = said.find(stop, max(0, before - len(stop) + 1))
        if place >= 0:
            places[place + len(stop)] = stop
    if not places:
        return "", ""
    end = min(places)
    if end < len(said):
        text.rewind(len(text) - 1)
        text.extend(text.encode(said[before:end]))
    return places[end], said[end:]
