"""Which distances MemLLM should count as near, over this package's own vectors of phrases.

``memllm.py thresholds`` compares vectors alone, ``memllm.py grid`` whole look-ups: a memory of
held-out facts is filled by hand and asked with the words that are stored and with others. The three
thresholds of a look-up (of the given end, of the relation, of the mean of both) are tried over a
grid. A query is found if every right end is among its results, and has a false hit if any wrong one
is. The choice finds most of the queries in other words among those that have false hits in no more
than the wanted share of all queries that do not stand there as they are; it is made on one memory
and shown on another, of other names. The more a memory holds, the more false hits there are: choose
with about as many facts as are to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import product
from random import Random
from typing import Any

import torch
from intervals import shown_share
from torch import Tensor

from memplus import MPlus
from memplus.data.names import OtherNames
from memplus.data.relations import make_organisations, make_people
from memplus.data.spoken_facts import SpokenFact
from memplus.evaluation.engine.summary import wilson
from memplus.systems.memllm.grammar import Query
from memplus.systems.memllm.retrieval import SETTINGS, Thresholds, ends_found
from memplus.systems.triples.rows import Triple
from memplus.systems.triples.table import TripleTable
from memplus.systems.triples.vectors import PhraseVectors

__all__ = ["GRID", "measure_grid", "measure_thresholds"]

_LAYERS = (1, 2, 4, 6, 10, 15)
_ENDS = (0.15, 0.25, 0.35, 0.45, 0.55)
_RELATIONS = (0.15, 0.3, 0.45, 0.6, 0.75)
_MEANS = (0.1, 0.2, 0.3, 0.4, 0.5)
GRID = tuple(
    dict.fromkeys(
        # A mean is never above that of the two others: a larger bound is none.
        Thresholds(end, relation, round(min(mean, (end + relation) / 2), 3))
        for end, relation, mean in product(_ENDS, _RELATIONS, _MEANS)
    )
)
"""What is tried."""
SHOWN = 5
"""Points of the grid that are shown behind the choice."""
OTHERWISE = {
    "account number": "number of the account",
    "author": "written by",
    "badge number": "number of the badge",
    "birth month": "month of birth",
    "birthplace": "place of birth",
    "breakfast fruit": "fruit for breakfast",
    "coat colour": "colour of the coat",
    "currency": "money",
    "desk number": "number of the desk",
    "director": "head",
    "dog's name": "name of the dog",
    "employer": "company",
    "favourite animal": "animal of choice",
    "favourite colour": "colour liked most",
    "favourite fruit": "preferred fruit",
    "favourite metal": "preferred metal",
    "favourite tool": "preferred tool",
    "founder": "founded by",
    "front door colour": "colour of the front door",
    "holiday city": "city of the holidays",
    "home town": "city of origin",
    "instrument": "plays",
    "landlord": "owner of the house",
    "location": "place",
    "locker code": "code of the locker",
    "lost tool": "tool that was lost",
    "lucky animal": "animal that brings luck",
    "neighbour": "lives next to",
    "nickname": "other name",
    "occupation": "profession",
    "painter": "painted by",
    "password": "secret word",
    "pet": "animal",
    "place of birth": "birthplace",
    "radio channel": "channel of the radio",
    "residence": "lives in",
    "ring metal": "metal of the ring",
    "room number": "room",
    "safe code": "code of the safe",
    "sport": "kind of sport",
    "spouse": "married to",
    "ticket number": "number of the ticket",
    "uniform colour": "colour of the uniform",
    "wedding month": "month of the wedding",
}
"""A relation -> what somebody else may call it."""


def variants(name: str) -> list[str]:
    """A name as somebody else may write it."""
    words = name.split()
    found = [name.lower(), f"the {name}", name.replace("é", "e")]
    if len(words) > 1:
        found += [f"{words[0][0]}. {' '.join(words[1:])}", f"Mr {words[-1]}"]
    return [one for one in dict.fromkeys(found) if one != name]


def measure_thresholds(model: MPlus, count: int, seed: int) -> dict[str, object]:
    """For each number of layers the distance that tells variants from others best.

    Args:
        model: makes the vectors.
        count: names of each of three kinds.
        seed: which names.
    """
    random = Random(seed)
    names = make_people(random, count, "held_out")
    names += make_organisations(random, count, "held_out")
    names += OtherNames(()).draw(random, count)
    alike = [(name, other) for name in names for other in variants(name)]
    found: dict[str, object] = {}
    for layers in _LAYERS:
        vectors = PhraseVectors(model.core, layers)
        own = vectors(names)
        near = 1 - (vectors([a for a, _ in alike]) * vectors([b for _, b in alike])).sum(dim=1)
        others = 1 - own @ own.T
        far = others[~torch.eye(len(names), dtype=torch.bool)]
        limits = torch.linspace(0.02, 0.8, 40)
        false = torch.stack([(far < limit).float().mean() for limit in limits])
        kept = [float(limit) for limit, share in zip(limits, false, strict=True) if share <= 1e-4]
        limit = max(kept, default=0.0)
        recall = float((near < limit).float().mean())
        found[str(layers)] = {"distance": round(limit, 3), "recall": round(recall, 3)}
    return {"false_share": 1e-4, "names": len(names), "pairs": len(alike), "layers": found}


@dataclass(frozen=True)
class Case:
    """A query, and the ends that it should find."""

    group: str
    query: Query
    right: frozenset[str]
    """Empty where the memory does not know the answer."""


AS_STORED = "as stored"
FOUND_GROUPS = ("end otherwise", "relation otherwise", "both otherwise")
"""Queries in other words, of which as many as possible should find what they ask for."""
FALSE_GROUPS = (*FOUND_GROUPS, "unknown end", "unknown relation")
"""Queries that should find nothing wrong."""


def cases(facts: Sequence[SpokenFact], strangers: Sequence[str], random: Random) -> list[Case]:
    """Queries for a memory of some facts: in its words, in others, and about what it lacks.

    Args:
        facts: all that it holds.
        strangers: names that it does not hold.
        random: chooses among ways to write a name.
    """
    values: dict[tuple[str, str], set[str]] = {}
    subjects: dict[tuple[str, str], set[str]] = {}
    for one in facts:
        values.setdefault((one.subject, one.relation), set()).add(one.value)
        subjects.setdefault((one.value, one.relation), set()).add(one.subject)
    relations = sorted({one.relation for one in facts})
    made: list[Case] = []

    def add(group: str, end: str, relation: str, right: set[str]) -> None:
        made.append(Case(group, Query(end, relation, None), frozenset(right)))

    for one in facts:
        right = values[one.subject, one.relation]
        other = random.choice(variants(one.subject))
        add(AS_STORED, one.subject, one.relation, right)
        add("end otherwise", other, one.relation, right)
        if one.relation in OTHERWISE:
            said = OTHERWISE[one.relation]
            add("relation otherwise", one.subject, said, right)
            add("both otherwise", other, said, right)
        lacks = [r for r in relations if (one.subject, r) not in values and not _alike(r, one)]
        if lacks:
            add("unknown relation", one.subject, random.choice(lacks), set())
        if one.value[0].isupper():  # a name can be asked from, a number or a colour hardly
            asked = subjects[one.value, one.relation]
            backwards = Query(None, one.relation, random.choice(variants(one.value)))
            made.append(Case("end otherwise", backwards, frozenset(asked)))
    for name, one in zip(strangers, facts, strict=False):
        add("unknown end", name, one.relation, set())
    return made


def _alike(relation: str, fact: SpokenFact) -> bool:
    """Whether a relation is another word for that of a fact."""
    return relation in (fact.relation, OTHERWISE.get(fact.relation))


@dataclass(frozen=True)
class Score:
    """How a memory was looked up under some thresholds."""

    found: Mapping[str, tuple[int, int]]
    """By group: queries that found all that they should, and all queries."""
    false: Mapping[str, tuple[int, int]]
    """By group: queries that found something wrong, and all queries."""

    def found_of(self, groups: Sequence[str] = FOUND_GROUPS) -> tuple[int, int]:
        """Of some groups together."""
        return _sum(self.found, groups)

    def false_of(self, groups: Sequence[str] = FALSE_GROUPS) -> tuple[int, int]:
        """Of some groups together."""
        return _sum(self.false, groups)

    def as_json(self) -> dict[str, Any]:
        """Shares with intervals, by group and together."""
        made: dict[str, Any] = {
            "found": _share(*self.found_of()),
            "false": _share(*self.false_of()),
        }
        made["by_group"] = {
            group: {"found": _share(*self.found[group]), "false": _share(*self.false[group])}
            for group in self.found
        }
        return made


def _sum(counts: Mapping[str, tuple[int, int]], groups: Sequence[str]) -> tuple[int, int]:
    some = [counts[one] for one in groups if one in counts]
    return sum(one for one, _ in some), sum(all_of_it for _, all_of_it in some)


def _share(some: int, whole: int) -> dict[str, Any]:
    interval = [round(one, 3) for one in wilson(some, whole)] if whole else None
    return {"count": some, "of": whole, "interval": interval}


def scored(table: TripleTable, asked: Sequence[Case], thresholds: Thresholds) -> Score:
    """Look all queries up."""
    found: dict[str, tuple[int, int]] = {}
    false: dict[str, tuple[int, int]] = {}
    for one in asked:
        ends = set(ends_found(table, [one.query], thresholds))
        right, wrong = bool(one.right) and one.right <= ends, bool(ends - one.right)
        for counts, more in ((found, right), (false, wrong)):
            some, whole = counts.get(one.group, (0, 0))
            counts[one.group] = some + more, whole + 1
    return Score(found, false)


def chosen(scores: Mapping[Thresholds, Score], most_false: float) -> list[Thresholds]:
    """Those with few enough false hits, the best first: most found, then fewest false hits, then
    the strictest."""

    def allowed(score: Score) -> bool:
        some, whole = score.false_of()
        return some <= most_false * whole

    kept = [one for one, score in scores.items() if allowed(score)]
    return sorted(
        kept, key=lambda t: (-scores[t].found_of()[0], scores[t].false_of()[0], astuple(t))
    )


def memory_of(facts: Sequence[SpokenFact], embed: Callable[[Sequence[str]], Tensor]) -> TripleTable:
    """A table of facts, put in by hand; no text is embedded twice."""
    known: dict[str, Tensor] = {}

    def once(texts: Sequence[str]) -> Tensor:
        new = [one for one in dict.fromkeys(texts) if one not in known]
        known.update(zip(new, embed(new), strict=True))
        return torch.stack([known[one] for one in texts])

    table = TripleTable(once)
    table.add([Triple(*one.triple) for one in facts], "facts")
    return table


def measure_grid(
    embed: Callable[[Sequence[str]], Tensor],
    facts_of: Callable[[int], Sequence[SpokenFact]],
    seed: int,
    most_false: float,
) -> dict[str, object]:
    """Choose the three thresholds on one memory and look at them on another; prints a table.

    Args:
        embed: vectors of phrases, as the system makes them.
        facts_of: held-out facts of a seed.
        seed: of the memory on which they are chosen; the next one is looked at.
        most_false: share of the queries that may have a false hit.
    """
    worlds = []
    for one in (seed, seed + 1):
        facts, random = facts_of(one), Random(one)
        told = {name for fact in facts for name in (fact.subject, fact.value)}
        names = make_people(random, 2 * len(facts), "held_out")
        strangers = [name for name in names if name not in told][: len(facts)]
        worlds.append((memory_of(facts, embed), cases(facts, strangers, random)))
    tried = {one: scored(*worlds[0], one) for one in dict.fromkeys((*SETTINGS.values(), *GRID))}
    best = chosen({one: tried[one] for one in GRID}, most_false)[:SHOWN]
    rows = [(name, one) for name, one in SETTINGS.items()]
    rows += [("chosen" if not place else "", one) for place, one in enumerate(best)]
    heads = "setting, end, relation, mean, found, false, found by others, false by others"
    print(f"| {heads.replace(', ', ' | ')} |\n{'|---' * 8}|")
    listed = []
    for name, one in rows:
        scores = (tried[one], scored(*worlds[1], one))
        shares = [shown_share(*part) for s in scores for part in (s.found_of(), s.false_of())]
        print(f"| {' | '.join([name, *map(str, astuple(one)), *shares])} |")
        listed.append(
            {"setting": name, "thresholds": astuple(one)}
            | {where: s.as_json() for where, s in zip(("chosen_on", "checked_on"), scores)}
        )
    return {
        "most_false": most_false,
        "queries": [len(asked) for _, asked in worlds],
        "chosen": astuple(best[0]) if best else None,
        "rows": listed,
    }
