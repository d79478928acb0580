"""Triples by a hand-written pattern: the ablation that no trained call takes part in."""

from __future__ import annotations

import re

from memplus.systems.memllm.grammar import writable
from memplus.systems.triples.rows import Triple

__all__ = ["extracted"]

_OF = re.compile(
    r"\b[Tt]he (?P<a>[\w' -]+?) of (?P<s>[\w' &.-]+?) (?:is|was) (?:now )?(?P<v>[^,;]+)\.$"
)
_OWN = re.compile(
    r"(?P<s>(?:[A-Z][\w.&-]*|the \w+)(?: [A-Z&][\w.&-]*)*)'s (?P<a>[\w' -]+?) (?:is|was) "
    r"(?:now )?(?P<v>[^,;]+)\.$"
)
_MOVE = re.compile(
    r"^(?P<s>[A-Z]\w+) (?:moved|went|travelled|journeyed|went back) to the (?P<v>\w+)\.$"
)


def extracted(sentence: str) -> list[Triple]:
    """What a sentence like "X's A is V.", "the A of X is V." or "X moved to the V." says."""
    bare = " ".join(sentence.split())
    if found := _MOVE.search(bare):
        return [Triple(found["s"], "location", found["v"])]
    found = _OF.search(bare) or _OWN.search(bare)
    if found is None:
        return []
    triple = Triple(found["s"], found["a"], found["v"])
    return [triple] if writable(triple) else []
