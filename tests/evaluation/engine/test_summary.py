from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memplus.evaluation.engine.summary import Z, cells_of, half_width, mean_interval, pooled, wilson

LONG_TERM, SHORT_TERM, WITHOUT = "mplus", "memoryllm", "nothing"


def line(**changes: Any) -> dict[str, Any]:
    usual = {
        "plan": "seed 0", "seed": 0, "system": LONG_TERM, "key": "k", "kind": "note",
        "wanted": 1000, "distance": 1010, "right": True, "declined": False, "outdated": False,
        "said": "in May", "answers": ["May", "June"], "seconds": 0.5, "bytes": 100,
    }  # fmt: skip
    return usual | changes


def test_wilson_is_the_published_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for right, asked, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(right, asked) == pytest.approx((low, high), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 400), st.data())
def test_wilson_holds_the_share(asked: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, asked))
    low, high = wilson(right, asked)
    assert 0 <= low <= right / asked + 1e-9
    assert right / asked - 1e-9 <= high <= 1


def test_answers_are_counted_by_kind_system_and_distance() -> None:
    lines = [
        line(),
        line(
            seed=1,
            right=False,
            declined=True,
            outdated=True,
            distance=1030,
            seconds=1.5,
            bytes=300,
        ),
        line(system=SHORT_TERM, right=False),
        line(kind="unknown subject", declined=True),
        line(system=WITHOUT, wanted=None, distance=None, right=False),
        {"key": "end", "plan": "seed 0"},
    ]
    cells = {(one.kind, one.system, one.wanted): one for one in cells_of(lines)}
    assert len(cells) == 4
    both = cells["note", LONG_TERM, 1000]
    assert (both.asked, both.right, both.accuracy) == (2, 1, 0.5)
    assert both.by_seed == {0: 1.0, 1: 0.0}
    assert (both.distance, both.seconds, both.bytes, both.declined) == (1020, 1.0, 200, 0.5)
    assert both.outdated == 0.5
    assert both.interval == wilson(1, 2)
    assert cells["note", WITHOUT, None].accuracy == 0


def test_words_in_common_are_those_with_the_best_of_the_right_answers() -> None:
    (cell,) = cells_of([line(), line(said="May"), line(said="no"), line(answers=[])])
    assert cell.f1 == mean_interval([2 / 3, 1.0, 0.0, 0.0])
    middle, low, high = cell.f1
    assert 0 <= low < middle < high <= 1
    assert mean_interval([0.5]) == (0.5, 0.0, 1.0)
    assert mean_interval([]) == (0.0, 0.0, 1.0)
    # Ten zeros do not show that there is nothing but zeros.
    assert mean_interval([0.0] * 10) == (0.0, *wilson(0, 10))
    assert mean_interval([1.0] * 10) == (1.0, *wilson(10, 10))
    assert mean_interval([0.25] * 4) == (0.25, *wilson(1, 4))


def test_near_answers_are_pooled() -> None:
    lines = [line(wanted=w, right=w != 500) for w in (0, 500, 1000, 2000)]
    near = pooled(lines, kind="note", system=LONG_TERM, within=1000)
    assert near is not None
    assert (near.asked, near.right, near.wanted) == (3, 2, None)
    assert pooled(lines, kind="note", system=SHORT_TERM, within=1000) is None


def test_recall_is_averaged_over_the_questions_that_have_rows_stored() -> None:
    def rows(stored: list[int], called: list[int]) -> dict[str, Any]:
        found = {"stored": stored, "retrieved": called}
        return {"rows": {"statement": found, "chunk": found}, "by_chance": 0.25}

    lines = [
        line(**rows([4, 2], [1, 2])),
        line(**rows([2, 0], [0, 0])),
        line(**rows([0, 0], [0, 0])),
        line(),
    ]
    found = cells_of(lines)[0].recall["statement"]
    assert found["questions"] == 2
    assert found["mean"] == pytest.approx((0.625 + 0.0) / 2)
    assert found["by_layer"] == pytest.approx([0.125, 1.0])
    assert found["by_chance"] == 0.25


def test_a_mean_is_surer_the_more_alike_and_the_more_its_values_are() -> None:
    assert half_width([1.0, 3.0]) == pytest.approx(Z)  # spread 2 / sqrt(2), of two values
    assert half_width([1.0, 3.0] * 50) < half_width([1.0, 3.0])
    assert half_width([2.0, 2.0]) == 0.0
    assert half_width([2.0]) == half_width([]) == float("inf")
