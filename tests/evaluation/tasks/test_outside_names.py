from collections import Counter
from itertools import pairwise

import pytest
from tests.evaluation.conftest import BOOKS, text_of, words, words_of

from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.tasks.note_layouts import ALONE
from memplus.evaluation.tasks.outside_names import ONE_ATTRIBUTE, OUTSIDE, Names, outside_plan
from memplus.evaluation.tasks.retention import RetentionSizes

TEXTS = Texts.of(BOOKS, words)
CHUNK = 16
PEOPLE = tuple(f"Odile{i} Quill{i}" for i in range(20))


def planned(names: Names, notes: int = 6, seed: int = 1) -> Plan:
    return outside_plan(TEXTS, CHUNK, RetentionSizes(notes, (0, 200)), seed, names)


def test_every_kind_is_asked_as_often_at_every_distance() -> None:
    plan = planned(Names(PEOPLE, one_attribute=True))
    kinds = (ALONE, OUTSIDE, ONE_ATTRIBUTE)
    counts = Counter((one.kind, one.wanted) for one in plan.questions)
    assert counts == {(kind, distance): 6 for kind in kinds for distance in (0, 200)}
    assert Counter(one.kind for one in plan.once) == dict.fromkeys(kinds, 6)
    assert {one.kind for one in planned(Names(PEOPLE)).questions} == {ALONE, OUTSIDE}
    alone = planned(Names(one_attribute=True))
    assert {one.kind for one in alone.questions} == {ALONE, ONE_ATTRIBUTE}


def test_people_of_a_list_are_told_of_once_each_and_nobody_else_is_outside() -> None:
    plan = planned(Names(PEOPLE, one_attribute=True))
    told = "".join(text_of(plan))
    named = [name for name in PEOPLE if name in told]
    assert len(named) == 12
    assert all(told.count(f"{name}'s") + told.count(f"{name},") + told.count(f"{name} is") == 1
               for name in named)  # fmt: skip
    for one in plan.questions:
        assert any(name in one.text for name in PEOPLE) == (one.kind != ALONE)


def test_notes_of_one_attribute_stand_side_by_side_and_are_asked_when_all_are_told() -> None:
    plan = planned(Names(PEOPLE, one_attribute=True))
    read = 0
    places = set()
    for step in plan.steps:
        read += step.tokens
        for one in step.questions:
            if one.kind == ONE_ATTRIBUTE:
                assert one.told is not None
                assert one.distance == read - one.told.end
                places.add((one.told.start, one.told.end, one.answers[0]))
    ordered = sorted(places)
    assert all(a[1] == b[0] for a, b in pairwise(ordered))
    first = min(one.distance or 0 for one in plan.questions if one.kind == ONE_ATTRIBUTE)
    assert first >= 0
    assert all(answer in words_of(text_of(plan), start, end) for start, end, answer in ordered)
    early = next(s for s in plan.steps if any(q.kind == ONE_ATTRIBUTE for q in s.questions))
    assert sum(s.tokens for s in plan.steps[: plan.steps.index(early) + 1]) >= ordered[-1][1]


def test_a_list_that_is_too_short_is_refused() -> None:
    assert planned(Names(PEOPLE), notes=20)
    with pytest.raises(ConfigError, match="there are 20 names, and 22 are needed"):
        planned(Names(PEOPLE, one_attribute=True), notes=11)


def test_a_plan_follows_from_its_seed() -> None:
    names = Names(PEOPLE, one_attribute=True)
    assert planned(names) == planned(names) != planned(names, seed=2)
