"""How well documents are predicted beside a memory: MemLLM's perplexity protocol (2404.11672).

A document is read token by token as it stands, five ways, the rungs of a ladder:

- ``plain base``: the model without an adapter;
- ``memory disabled``: the read adapter, which may not call;
- ``own places and queries``: MemLLM; it calls where ``({`` is the best token, once at one place,
  and asks what it likes;
- ``given places``: it is made to call before every target of the reading examples
  (``read_pieces``), and asks what it likes;
- ``given places and queries``: there it asks what the examples ask.

The loop is that of generation (``ReadLoop``): one read in the context at most; a call that finds
nothing, or too much, is taken away, and an earlier read stays. What the protocol leaves open is
read so:

- *The mixture.* Behind a call that found something, up to the next such call, every token has the
  probability c p(x | text, call, results) + (1 - c) p(x | text), c being the probability of ``({``
  at the call's place, in the context of that place. It is mixed token by token: the branches are
  not weighed anew by what was read since. ``p(x | text)`` is the read adapter on the text alone.
  The tokens of calls and results cost nothing. Since an oracle of places knows that a call is due,
  the figures with c = 1 stand beside (``called``).
- *What is no call* is text: p is over all tokens but ``({``, in every rung.
- *The tokens* are the same in every rung: the text is cut before every target, and each part is
  tokenised by itself, as the adapter learned it. The first token is given and not predicted.
- *The means.* OVERALL is over tokens. TARGET and ENTITY are over targets and over mentions of
  entities, each of which counts by the mean over its tokens, a blank before it included.
- *Intervals* of 95% are over documents, which count as independent.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from intervals import interval_of_groups

from memplus.systems.memllm.annotated import Document, sorted_mentions
from memplus.systems.memllm.calls import Generator, Reading
from memplus.systems.memllm.grammar import END, START, read_call
from memplus.systems.memllm.read_examples import ReadPiece, read_pieces
from memplus.systems.memllm.reading import ReadLoop
from memplus.systems.memllm.system import MemLLMSystem
from memplus.systems.triples.rows import Row
from memplus.systems.triples.table import TripleTable

__all__ = ["MEANS", "Ladder", "Text", "text_of"]

MEANS = ("overall", "target", "entity")
BASE, DISABLED, OWN, PLACES, QUERIES = (
    "plain base",
    "memory disabled",
    "own places and queries",
    "given places",
    "given places and queries",
)

Spans = tuple[tuple[int, int], ...]
"""First token of each, and the token after its last."""


@dataclass(frozen=True)
class Text:
    """A document as tokens."""

    ids: tuple[int, ...]
    pieces: Mapping[int, ReadPiece]
    """Token before which a call is due -> what is to be asked there."""
    targets: Spans
    mentions: Spans


def text_of(system: MemLLMSystem, document: Document) -> Text:
    """A document's tokens, and which of them name its targets and its entities."""
    pieces = {len(one.before): one for one in read_pieces(document)}
    cuts = [0, *pieces, len(document.text)]
    parts = [document.text[start:end] for start, end in pairwise(cuts)]
    reference = system.shared.reference(parts)
    ends = [start + end for start, own in zip(cuts, reference, strict=False) for end in own]
    return Text(
        tuple(system.shared.encode(parts)),
        {bisect_right(ends, at): piece for at, piece in pieces.items()},
        tuple(
            _span(ends, document.text.index(one.target, at), one.target)
            for at, one in pieces.items()
        ),
        tuple(_span(ends, one.start, one.name) for _, one in sorted_mentions(document)),
    )


def _span(ends: Sequence[int], start: int, name: str) -> tuple[int, int]:
    """The tokens of a name; the first token of the text is not predicted, and left out."""
    end = start + len(name)
    last = max(bisect_left(ends, end) + 1, bisect_right(ends, end))
    return max(1, bisect_right(ends, start)), last


@dataclass
class TextReading(Reading):
    """A ``Reader`` whose text is there already: it calls where it is made to, or wants to.

    It is asked by one ``ReadLoop`` and knows where in the text its read stands, so that the tokens
    are always those of the whole text.
    """

    told: Text = field(kw_only=True)
    calls: Mapping[int, str] | None = field(default=None, kw_only=True)
    """Token before which it calls -> the call from behind ``({``, empty: its own; None: where it
    wants to."""
    log_probs: list[float] = field(default_factory=list, init=False)
    """Of each token but the first, in the context in which it was read."""
    weights: list[float] = field(default_factory=list, init=False)
    """Of each of them: the probability of the call whose results stood before it; 0: none did."""
    places: list[int] = field(default_factory=list, init=False)
    """Tokens before which it called."""
    _read_at: int | None = field(default=None, init=False)
    _weight: float = field(default=0.0, init=False)
    _chance: float = field(default=0.0, init=False)

    @property
    def _done(self) -> int:
        """Tokens that were read."""
        return 1 + len(self.log_probs)

    def ids_of(self, context: Sequence[str]) -> list[int]:
        """See ``Reading.ids_of``."""
        ids, at = self.told.ids, self._done
        if context[-1] == START:
            return [*ids[:at], *self.generator.begun([START]).ids]
        if self._read_at is None:
            return [*ids[:at]]
        start = context.index(START)
        read = self.generator.begun(context[start : start + 4]).ids
        return [*ids[: self._read_at], *read, *ids[self._read_at : at]]

    def text(self, context: Sequence[str], *, may_call: bool) -> str:
        """See ``Reader.text``: the text up to the next call."""
        at, ids = self._done, self.told.ids
        if context[-1] == END:
            self._read_at, self._weight = at, self._chance
        if at == len(ids):
            return ""
        scores = self._at(context).predicted(ids[at:])
        starts = torch.tensor(self.generator.starts, device=scores.device)
        best = scores.argmax(dim=1)
        wanted = torch.isin(best, starts).tolist() if self.calls is None else []
        after = max(at, self.places[-1] + 1) if self.places else at
        due = (n for n in range(after, len(ids)) if (wanted[n - at] if wanted else n in self.calls))
        stop = next(due, len(ids))
        told = torch.tensor(ids[at:stop], device=scores.device)
        texts = scores[: stop - at].index_fill(1, starts, -torch.inf).log_softmax(dim=1)
        self.log_probs += texts.gather(1, told[:, None])[:, 0].tolist()
        self.weights += [self._weight] * (stop - at)
        said = self.generator.core.decode(ids[at:stop])
        if stop == len(ids):
            return said
        self.places.append(stop)
        # Of nearly sure tokens the sum may round to more than 1.
        self._chance = min(1.0, float(scores[stop - at, starts].logsumexp(dim=0).exp()))
        return said + START

    def call(self, context: Sequence[str]) -> str:
        """See ``Reader.call``: the given one, if any."""
        return (self.calls or {}).get(self.places[-1]) or super().call(context)


@dataclass(frozen=True)
class Means:
    """Sums of -log p of one document, and how many things they are over."""

    sums: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass
class Ladder:
    """Reads documents on every rung.

    Args:
        system: whose adapters and options are used.
        table: the memory.
    """

    system: MemLLMSystem
    table: TripleTable
    found: dict[str, list[Means]] = field(default_factory=dict)
    """Rung -> a line for each document."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rung with calls -> what became of them."""

    @cached_property
    def _base(self) -> Generator:
        return Generator(self.system.tools.core, None)

    def read(self, text: Text) -> None:
        """Read one document."""
        tools = self.system.tools
        base = self._alone(self._base, text)
        bare = self._alone(tools.reader, text)
        self._keep(BASE, text, base)
        self._keep(DISABLED, text, bare)
        asked = {at: read_call(piece.queries) for at, piece in text.pieces.items()}
        for rung, calls in ((OWN, None), (PLACES, dict.fromkeys(asked, "")), (QUERIES, asked)):
            reading, loop = self._read(text, calls)
            triples = zip(reading.weights, reading.log_probs, bare, strict=True)
            self._keep(rung, text, [_mixed(*one) for one in triples])
            self._keep(f"{rung}, called", text, reading.log_probs)
            self._count(rung, text, reading, loop)

    def _alone(self, generator: Generator, text: Text) -> list[float]:
        reading = TextReading(generator, 0, told=text, calls={})
        reading.text([" "], may_call=False)
        return reading.log_probs

    def _read(
        self, text: Text, calls: Mapping[int, str] | None
    ) -> tuple[TextReading, ReadLoop[Row]]:
        tools = self.system.tools
        reading = TextReading(tools.reader, 0, told=text, calls=calls)
        loop = ReadLoop(
            reading,
            lambda queries: tools.look_up(self.table, queries),
            prompt=" ",
            most_calls=len(text.ids),
            most_results=tools.options.most_results,
        )
        loop.run()
        return reading, loop

    def _keep(self, rung: str, text: Text, log_probs: Sequence[float]) -> None:
        def mean(span: tuple[int, int]) -> float:
            first, last = span
            return -math.fsum(log_probs[first - 1 : last - 1]) / (last - first)

        groups = [[-one for one in log_probs]]
        for spans in (text.targets, text.mentions):
            groups.append([mean(one) for one in spans if one[0] < one[1]])
        line = Means(tuple(map(math.fsum, groups)), tuple(map(len, groups)))
        self.found.setdefault(rung, []).append(line)

    def _count(self, rung: str, text: Text, reading: TextReading, loop: ReadLoop[Row]) -> None:
        counts = self.counts.setdefault(rung, dict.fromkeys(_COUNTED, 0))
        due = set(reading.places) & set(text.pieces)
        wanted = {piece.target for piece in text.pieces.values()}
        got = {name for one in loop.reads for name in one.results}
        counts["calls"] += loop.calls
        counts["parsed"] += loop.parsed
        counts["found something"] += len(loop.reads)
        counts["before a target"] += len(due)
        counts["targets found"] += len(wanted & got)

    def figures(self) -> dict[str, Any]:
        """Perplexities of every rung with their intervals, as JSON values."""
        return {
            rung: {
                **{name: _perplexity(lines, place) for place, name in enumerate(MEANS)},
                "target less disabled": self._beside(lines),
            }
            for rung, lines in self.found.items()
        }

    def _beside(self, lines: Sequence[Means]) -> list[float]:
        """How much more -log p a target has than with the memory disabled; half of its interval."""
        sums = [
            one.sums[1] - other.sums[1]
            for one, other in zip(lines, self.found[DISABLED], strict=True)
        ]
        found = interval_of_groups(sums, [one.counts[1] for one in lines])
        return [round(one, 3) for one in found if math.isfinite(one)]


_COUNTED = ("calls", "parsed", "found something", "before a target", "targets found")


def _mixed(weight: float, read: float, bare: float) -> float:
    """log(weight e^read + (1 - weight) e^bare)."""
    if not weight:
        return bare
    shares = torch.tensor([weight, 1 - weight], dtype=torch.float64).log()
    return float((shares + torch.tensor([read, bare], dtype=torch.float64)).logsumexp(dim=0))


def _perplexity(lines: Sequence[Means], place: int) -> dict[str, float]:
    """With a single document there is no interval."""
    sums, counts = [one.sums[place] for one in lines], [one.counts[place] for one in lines]
    middle, half = interval_of_groups(sums, counts)
    found = {"perplexity": middle, "low": middle - half, "high": middle + half}
    return {name: round(math.exp(one), 3) for name, one in found.items() if math.isfinite(one)}
