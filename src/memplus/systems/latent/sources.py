"""Where the tokens of a session came from: which source, and which tokens of it.

Sources take turns; one that comes back goes on where it was. Kept as runs, so a text of one source
costs the same however long it is.

Shapes: n sources, r runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from memplus.memory.checks import COUNT, require, require_tensor, require_within
from memplus.systems.latent.mechanism import Share
from memplus.systems.packed_texts import pack_texts, packed_bytes, unpack_texts
from memplus.systems.protocol import Evidence

__all__ = ["Sources"]

_NAMES, _RUNS = "sources.", "runs"


class _Run(NamedTuple):
    source: str
    start: int
    """Its first token, counted over all sources."""
    first: int
    """The same token, counted from the beginning of its source."""


class Sources:
    """The sources of a session's tokens, in order."""

    def __init__(self) -> None:
        self.tokens = 0
        """Of all sources."""
        self._runs: list[_Run] = []
        self._told: dict[str, int] = {}
        """Tokens of each source."""

    @property
    def nbytes(self) -> int:
        """Bytes of the names and the runs, as ``tensors`` has them."""
        return packed_bytes(list(self._told)) + 16 * len(self._runs)

    def add(self, source: str, tokens: int) -> None:
        """So many tokens more, of this source."""
        if not tokens:
            return
        told = self._told.get(source, 0)
        if not self._runs or self._runs[-1].source != source:
            self._runs.append(_Run(source, self.tokens, told))
        self._told[source] = told + tokens
        self.tokens += tokens

    def evidence(self, shares: Sequence[Share]) -> tuple[Evidence, ...]:
        """Parts of what was written by their sources, most share first.

        Args:
            shares: a part of several sources is divided among them by its tokens; what lies behind
                the last token, such as a question that was taken in to answer it, is left out.
        """
        found = [one for share in shares for one in self._divided(share) if one.share > 0]
        return tuple(sorted(found, key=lambda one: -one.share))

    def _divided(self, share: Share) -> Iterator[Evidence]:
        start, last = max(0, share.start), min(share.end, self.tokens)
        whole = share.end - share.start
        at = bisect_right(self._runs, start, key=lambda run: run.start) - 1
        while start < last:
            run = self._runs[at]
            end = min(last, self._end(at))
            first = run.first + start - run.start
            part = share.share * (end - start) / whole
            yield Evidence(run.source, first, first + end - start, part)
            start, at = end, at + 1

    def _end(self, at: int) -> int:
        """The token behind a run."""
        return self._runs[at + 1].start if at + 1 < len(self._runs) else self.tokens

    def copy(self) -> Sources:
        """The same, going its own way."""
        made = Sources()
        made.tokens, made._runs, made._told = self.tokens, list(self._runs), dict(self._told)
        return made

    def tensors(self) -> dict[str, Tensor]:
        """Names one after the other, and ``runs`` [r, 2] int64: place of the name, tokens."""
        place = {source: index for index, source in enumerate(self._told)}
        rows = [(place[run.source], self._end(at) - run.start) for at, run in enumerate(self._runs)]
        names = {_NAMES + name: one for name, one in pack_texts(list(self._told)).items()}
        return {**names, _RUNS: torch.tensor(rows, dtype=torch.int64).view(-1, 2)}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], path: Path) -> Sources:
        """What ``tensors`` gave.

        Args:
            tensors: of a file; others may be among them.
            path: of it, for errors.

        Raises:
            CorruptMemoryError: they are not such tensors.
        """
        texts = {n.removeprefix(_NAMES): t for n, t in tensors.items() if n.startswith(_NAMES)}
        names = unpack_texts(texts, path)
        runs = require_tensor(tensors, _RUNS, path, (torch.int64,), (None, 2))
        require_within(runs[:, 0], path, _RUNS, 0, len(names) - 1)
        require_within(runs[:, 1], path, _RUNS, 1, COUNT)
        made = cls()
        for index, tokens in runs.tolist():
            made.add(names[index], tokens)
        same = len(made._runs) == len(runs) and list(made._told) == names
        require(same, path, _RUNS, "name their sources in another order")
        return made
