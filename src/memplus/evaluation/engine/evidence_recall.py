"""How much of what answers a question a system names as its evidence."""

from __future__ import annotations

from collections.abc import Sequence

from memplus.data.stream import Told
from memplus.systems.protocol import Evidence, Reply

__all__ = ["PLACES", "SOURCES", "evidence_recall"]

SOURCES, PLACES = "sources_recalled", "places_recalled"
"""Fields of a recorded line."""


def evidence_recall(
    reply: Reply, wanted: Sequence[Told], *, exact_places: bool
) -> dict[str, float]:
    """Shares, 0 to 1, of the sources and of the places that answer a question.

    Args:
        reply: of which all evidence counts, whatever its share.
        wanted: the places that the answer is drawn from.
        exact_places: whether the system counts tokens as the plan does; places are compared only
            then, while sources have names.

    Returns:
        ``SOURCES`` and, where they can be compared, ``PLACES``: 0.0 where the reply stands on
        nothing written. Empty where the system measures no evidence or the benchmark names no
        places.
    """
    if not wanted or reply.evidence is None:
        return {}
    sources = {one.source for one in wanted}
    named = {one.source for one in reply.evidence}
    found = {SOURCES: round(len(sources & named) / len(sources), 6)}
    if exact_places:
        met = sum(any(_meets(one, place) for one in reply.evidence) for place in wanted)
        found[PLACES] = round(met / len(wanted), 6)
    return found


def _meets(evidence: Evidence, place: Told) -> bool:
    start, end = place.stated
    return evidence.source == place.source and evidence.start < end and start < evidence.end
