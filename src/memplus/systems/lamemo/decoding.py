"""A text that goes on token by token behind a window, and what its tokens look at.

Once the tokens of a row fill a segment, the next one begins another: the window moves on, as it
does where all of them are read at once.

Shapes: B rows, b of them together, N tokens of a segment, d hidden size, m remembered positions,
K cached keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.systems.lamemo.layer_step import Blend, Scores, weights_of
from memplus.systems.lamemo.passing import Cached, Looked, Passes, absent
from memplus.systems.lamemo.segments import Segments
from memplus.systems.lamemo.window import Window
from memplus.systems.latent.mechanism import Share

__all__ = ["LaMemoDecoding"]

_EVIDENCE = 32
"""Positions that are shown as one part."""


@dataclass(frozen=True)
class _Group:
    """Rows whose windows have moved equally far."""

    rows: list[int]
    window: Window
    texts: list[list[int]]
    """Tokens of each row's segment so far."""
    cached: Cached


class LaMemoDecoding:
    """See ``latent.mechanism.Decoding``.

    Args:
        passes: of the decoder.
        write: (window, [b, N]) -> the window behind a segment.
        blend: how what is on the right is mixed in.
        window: what all that is asked begins with, of B rows.
        texts: what is read first; whole segments move the window.
    """

    def __init__(
        self,
        passes: Passes,
        write: Callable[[Window, Tensor], Window],
        blend: Blend,
        window: Window,
        texts: Sequence[Segments],
        segment: int,
    ) -> None:
        self._passes, self._write, self._blend, self._segment = passes, write, blend, segment
        self._start, self._end = window.tokens - window.count, window.tokens
        rows = sum(len(one.rows) for one in texts)
        self._hidden = window.embeddings.new_zeros(rows, window.embeddings.shape[2])
        self._looked = window.logs.new_zeros(rows, window.count)
        self._groups = [self._begun(window, one) for one in texts]

    @property
    def hidden(self) -> Tensor:
        """See ``Decoding.hidden``."""
        return self._hidden

    @torch.no_grad()
    def step(self, tokens: Tensor) -> None:
        """See ``Decoding.step``."""
        self._hidden = self._hidden.clone()  # callers may hold what it was
        groups = []
        for group in self._groups:
            full = [len(text) == self._segment for text in group.texts]
            there = [place for place, one in enumerate(full) if one]
            rest = [place for place, one in enumerate(full) if not one]
            if rest:
                groups.append(self._stepped(_some(group, rest), tokens))
            if there:
                groups.append(self._moved_on(_some(group, there), tokens))
        self._groups = groups

    @property
    def shares(self) -> list[list[Share]]:
        """See ``Decoding.shares``: parts of the window, by attention over all layers and heads of
        the prompt's last token and of those behind it."""
        return [self._shares(looked) for looked in self._looked]

    def _shares(self, looked: Tensor) -> list[Share]:
        total = float(looked.sum())
        if not total:
            return []
        first = self._start // _EVIDENCE * _EVIDENCE
        found = []
        for begin in range(first, self._end, _EVIDENCE):
            start, end = max(begin, self._start), min(begin + _EVIDENCE, self._end)
            share = float(looked[start - self._start : end - self._start].sum()) / total
            found.append(Share(start, end, min(1.0, share)))
        return sorted(found, key=lambda one: (-one.share, one.start))

    def _begun(self, window: Window, given: Segments) -> _Group:
        """Read what stands before all that is to come."""
        window = window.of_rows(given.rows)
        for piece in given.whole:
            window = self._write(window, piece)
        return self._prefilled(window, given)

    def _prefilled(self, window: Window, given: Segments) -> _Group:
        looked = self._passes.look(window, given.rest, self._blend)
        counts = torch.tensor(given.counts, device=given.rest.device)
        places = torch.arange(window.count + given.rest.shape[1], device=counts.device)
        there = places[None] < window.count + counts[:, None]
        rows = range(len(given.rows))
        self._hidden[given.rows] = looked.hidden[list(rows), counts - 1]
        self._add_looks(given.rows, window, _last_weights(looked, counts, there))
        cached = Cached(looked.keys, looked.values, there)
        texts = [given.rest[row, : given.counts[row]].tolist() for row in rows]
        return _Group(given.rows, window, texts, cached)

    def _stepped(self, group: _Group, tokens: Tensor) -> _Group:
        """One more token, where the segment has room."""
        own = tokens[group.rows]
        lengths = torch.tensor([len(text) for text in group.texts], device=own.device)
        places = group.window.count + lengths
        hidden, cached, weights = self._passes.step(group.cached, own, places)
        self._hidden[group.rows] = hidden
        self._add_looks(group.rows, group.window, weights)
        texts = [[*text, int(one)] for text, one in zip(group.texts, own, strict=True)]
        return _Group(group.rows, group.window, texts, cached)

    def _moved_on(self, group: _Group, tokens: Tensor) -> _Group:
        """One more token, the first of the next segment."""
        own = tokens[group.rows]
        window = self._write(group.window, torch.tensor(group.texts, device=own.device))
        return self._prefilled(window, Segments(group.rows, [], own[:, None], [1] * len(own)))

    def _add_looks(self, rows: Sequence[int], window: Window, weights: Tensor) -> None:
        """Account for attention [b, K] to the positions that all began with."""
        moved = (window.tokens - window.count) - self._start
        known = max(0, min(window.count, self._looked.shape[1] - moved))
        self._looked[list(rows), moved : moved + known] += weights[:, :known]


def _some(group: _Group, places: Sequence[int]) -> _Group:
    """Some rows of a group."""
    if len(places) == len(group.rows):
        return group
    return _Group(
        [group.rows[place] for place in places],
        group.window.of_rows(places),
        [group.texts[place] for place in places],
        group.cached.of_rows(places),
    )


def _last_weights(looked: Looked, counts: Tensor, there: Tensor) -> Tensor:
    """[b, K] attention of each row's last token, mean over layers and heads."""
    rows = torch.arange(len(counts), device=counts.device)
    found, mask = [], absent(there)
    for query, key, scale in zip(looked.queries, looked.keys, looked.scales, strict=True):
        scores = Scores(query[rows, :, counts - 1][:, :, None], key, scale)
        found.append(weights_of(scores, mask).mean(dim=1)[:, 0])
    return torch.stack(found).mean(dim=0)
