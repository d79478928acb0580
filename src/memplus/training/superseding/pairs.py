"""Pairs of spans as reads of a model meet them, with whether the later one replaces the earlier.

Shapes: n pairs, F features, C spans compared, T prompt tokens, R retriever width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from memplus.data.stream import Stream, Texts
from memplus.memory.span_places import SpanPlaces
from memplus.memory.state import Memory
from memplus.memory.superseding import FEATURES, pair_features
from memplus.mplus.asking import padded
from memplus.mplus.model import MPlus
from memplus.passes.span_choice import Compared, SpansBefore
from memplus.passes.span_queries import span_queries
from memplus.systems.mplus import MemorySession
from memplus.systems.shared import Shared
from memplus.training.superseding.told import Asked, Item, tell, tell_alone

__all__ = ["Pairs", "collect_alone", "collect_pairs", "label_pairs", "span_tokens"]

_TOGETHER = 32
"""Questions that ask in one batch."""
_SOURCE = "told"


@dataclass(frozen=True)
class Pairs:
    """Pairs of an earlier and a later span that a question found together.

    Of all that are found, those count where it matters what the rule says: the earlier one holds
    what is no longer so and the later one what is; or the earlier one holds what is right, and must
    be read, or is of the same text as the later one, which is understood by both. Whatever else is
    set aside, the answer does not need.
    """

    features: Tensor
    """[n, F] as ``memory.superseding.pair_features``, float64 on the CPU."""
    replaced: Tensor
    """[n] true where the later one corrects the earlier."""
    questions: tuple[str, ...]
    """Of each pair the question: pairs of one are alike."""

    def __len__(self) -> int:
        return len(self.questions)

    def of(self, mask: Tensor) -> Pairs:
        """Those where the mask [n] is true."""
        kept = [one for one, there in zip(self.questions, mask.tolist(), strict=True) if there]
        return Pairs(self.features[mask], self.replaced[mask], tuple(kept))

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """All of several, in their order."""
        none = cls(torch.zeros(0, len(FEATURES), dtype=torch.float64), torch.zeros(0).bool(), ())
        every = [none, *parts]
        features, labels = (
            torch.cat([getattr(one, name) for one in every]) for name in ("features", "replaced")
        )
        return cls(features, labels, tuple(one for part in every for one in part.questions))


@torch.no_grad()
def collect_pairs(
    model: MPlus,
    texts: Texts,
    items: Sequence[Item],
    seed: int,
    distances: Sequence[int],
) -> Pairs:
    """Tell items to a memory in running text, and ask for each of them after several distances.

    Args:
        model: retrieves spans.
        texts: what the items are told in.
        items: what is told and asked.
        seed: of their order, of the text and of the memory.
        distances: tokens read after all was told, before everything is asked; rising.
    """
    stream = Stream(texts, seed, _SOURCE)
    asked = tell(stream, items, Random(seed))
    session = MemorySession(Shared(lambda: model), model.new_memory(seed))
    end, chunk = stream.tokens, model.memory_config.chunk_tokens
    parts: list[Pairs] = []
    written = 0
    for distance in distances:
        # What fills no chunk waits in the tail, where it is read as text and found by no question.
        stream.read_to(-(-(end + distance) // chunk) * chunk)
        while written < len(stream.pieces):
            pieces = stream.pieces[written : written + _TOGETHER]
            session.write([one.text for one in pieces], _SOURCE)
            written += len(pieces)
        parts += _ask(model, session.memory, asked)
    return Pairs.joined(parts)


@torch.no_grad()
def collect_alone(model: MPlus, texts: Texts, items: Sequence[Item], seed: int) -> Pairs:
    """Tell each item to a memory of its own, all of it compressed, and ask for it at once.

    There a question finds the spans of one text alone, which in a larger memory are among others.

    Args:
        model: retrieves spans.
        texts: whose tokenizer counts; nothing of them is told.
        items: what is told and asked, each by itself; nothing corrects them.
        seed: of the memories.
    """
    shared = Shared(lambda: model)
    parts: list[Pairs] = []
    for item in items:
        stream = Stream(texts, seed, _SOURCE)
        asked = tell_alone(stream, item)
        session = MemorySession(shared, model.new_memory(seed))
        session.write([one.text for one in stream.pieces], _SOURCE)
        session.flush()
        parts += _ask(model, session.memory, [asked])
    return Pairs.joined(parts)


def _ask(model: MPlus, memory: Memory, asked: Sequence[Asked]) -> Iterator[Pairs]:
    """The pairs of every question."""
    stored = memory.long_term
    if stored is None:
        return
    before = SpansBefore(memory, stored)
    for start in range(0, len(asked), _TOGETHER):
        batch = asked[start : start + _TOGETHER]
        prompts = _queries(model, [model.asker.encode(one.question) for one in batch])
        found = stored.span_matches(prompts)
        for one, queries, matches in zip(batch, prompts, found, strict=True):
            some = before.compared(before.matches(queries, matches).mean(dim=0))
            features = pair_features(queries, some.unit, some.births).double().cpu()
            places = span_tokens(memory, before, some, matches.shape[1])
            yield label_pairs(one, features, places, some.births.tolist())


def _queries(model: MPlus, prompts: Sequence[list[int]]) -> list[Tensor]:
    """[T, R] f_q of each prompt's tokens."""
    ids, mask = (part.to(model.device) for part in padded(prompts))
    return span_queries(model.backbone, model.weights, ids, mask.bool())


def span_tokens(
    memory: Memory, before: SpansBefore, some: Compared, stored: int
) -> list[tuple[int, int]]:
    """Which tokens the spans compared were made of.

    Args:
        memory: that was told one source.
        before: its spans.
        some: of these.
        stored: how many spans are long-term ones.

    Returns:
        For each the first token, counted from the beginning of the source, and the one after the
        last; both 0 for what every memory begins with.
    """
    span, places = before.stored.span, SpanPlaces.of(memory)
    found = []
    for at, birth in zip(some.places.tolist(), some.births.tolist(), strict=True):
        if at < stored:
            write_id = int(before.stored.books(0).between("write_id", at * span, at * span + 1))
        else:
            assert before.pool is not None
            write_id = int(before.pool.write_id[0, (at - stored) * span])
        if not write_id:
            found.append((0, 0))
            continue
        record = memory.writes[write_id - 1]
        first, last = places.tokens(write_id, birth)
        found.append((record.start + first, record.start + last))
    return found


def label_pairs(
    asked: Asked, features: Tensor, places: Sequence[tuple[int, int]], births: Sequence[int]
) -> Pairs:
    """The pairs of spans that one question found and that count.

    Args:
        asked: the question, and where its answers were told.
        features: [C, C, F] of earlier and later span.
        places: [C] the first token of each span, and the one after its last.
        births: [C] of the spans.
    """
    right = [_overlap(place, asked.right.stated) for place in places]
    own = [_overlap(place, (asked.right.start, asked.right.end)) for place in places]
    told = asked.outdated
    outdated = [
        told is not None and not holds and _overlap(place, (told.start, told.end))
        for place, holds in zip(places, right, strict=True)
    ]
    order = sorted(range(len(births)), key=lambda at: births[at])
    found = [
        (earlier, later)
        for turn, earlier in enumerate(order)
        for later in order[turn + 1 :]
        if right[earlier] or (own[earlier] and own[later]) or (outdated[earlier] and right[later])
    ]
    if not found:
        return Pairs.joined([])
    earlier, later = torch.tensor(found).T
    labels = torch.tensor([outdated[one] and right[other] for one, other in found])
    return Pairs(features[earlier, later], labels, (asked.question,) * len(found))


def _overlap(place: tuple[int, int], other: tuple[int, int]) -> bool:
    return place[0] < other[1] and other[0] < place[1]
