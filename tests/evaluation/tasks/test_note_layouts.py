import re
from collections import Counter
from itertools import pairwise

from tests.evaluation.conftest import BOOKS, text_of, words, words_of

from memplus.data.stream import Texts
from memplus.evaluation.tasks.note_layouts import (
    BORDER,
    CORRECTED,
    LAYOUTS,
    PARAGRAPH,
    SAME_NAME,
    WAITING,
    layouts_plan,
)
from memplus.evaluation.tasks.retention import RetentionSizes

CHUNK = 16
PLAN = layouts_plan(Texts.of(BOOKS, words), CHUNK, RetentionSizes(10, (0, 200)), seed=1)
ASKED = [one for one in PLAN.questions if one.wanted == 0]


def of(kind: str) -> list[tuple[str, str, int, int]]:
    """Question, answer, start and end of a layout's notes, as told."""
    asked = [(one, one.told) for one in ASKED if one.kind == kind]
    found = [(one.text, one.answers[0], told.start, told.end) for one, told in asked if told]
    return sorted(found, key=lambda one: one[2])


def test_every_layout_is_asked_as_often_at_every_distance() -> None:
    counts = Counter((one.kind, one.wanted) for one in PLAN.questions)
    written = [kind for kind in LAYOUTS if kind != WAITING]
    asked = {(kind, distance): 10 for kind in written for distance in (0, 200)}
    assert counts == asked | {(WAITING, 0): 10}
    assert Counter(one.kind for one in PLAN.once) == dict.fromkeys(written, 10)


def test_waiting_notes_are_asked_right_after_their_last_token() -> None:
    written = 0
    for step in PLAN.steps:
        written += step.tokens
        assert not step.flush
        for one in step.questions:
            assert one.told is not None
            assert one.distance == written - one.told.end
            assert (one.distance == 0) if one.kind == WAITING else (written % CHUNK == 0)


def test_notes_of_a_paragraph_follow_each_other() -> None:
    told = of(PARAGRAPH)
    for first in (0, 5):
        group = told[first : first + 5]
        assert all(a[3] == b[2] for a, b in pairwise(group))
    assert told[4][3] < told[5][2]


def test_notes_across_a_border_are() -> None:
    assert all(start // CHUNK < (end - 1) // CHUNK for _, _, start, end in of(BORDER))


def test_only_a_corrected_note_has_an_older_value_and_another_one() -> None:
    for one in PLAN.questions:
        assert (one.outdated is not None) == (one.kind == CORRECTED)
        assert one.outdated not in one.answers


def test_a_correction_comes_after_the_note_and_is_what_counts() -> None:
    for question, answer, start, end in of(CORRECTED):
        assert answer not in question
        assert answer in words_of(text_of(PLAN), start, end)
        assert end - start < 30
        assert start > 200


def test_namesakes_share_first_name_and_attribute_only() -> None:
    told = of(SAME_NAME)
    assert len({question for question, *_ in told}) == 10
    for one, other in zip(told[::2], told[1::2], strict=True):
        (first, last), (namesake, other_last) = name_in(one[0]), name_in(other[0])
        assert first == namesake
        assert last != other_last


def name_in(question: str) -> tuple[str, ...]:
    """First and last name in a question."""
    found = re.search(r"([A-Z]\w+) ([A-Z]\w+)('s|\?)", question)
    assert found is not None
    return found.group(1, 2)
