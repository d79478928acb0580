"""Code that answers otherwise has another revision, so that figures of before are known."""

from __future__ import annotations

import pytest
from tests.systems.answers import found_of, recorded

from memplus.systems.registry import SYSTEMS

ANEW = (
    "{} answers otherwise than when its figures were made. Where that is meant, raise its "
    "`revision`, and run `python -m tests.systems.answers`."
)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_answers_as_before_or_says_that_it_does_not(name: str) -> None:
    found, before = found_of(name), recorded()[name]
    assert found["revision"] == before["revision"], ANEW.format(name)
    flat = [p for row in found["scores"] for p in row]
    then = [p for row in before["scores"] for p in row]
    assert found["said"] == before["said"], ANEW.format(name)
    assert flat == pytest.approx(then, rel=1e-3, abs=1e-3), ANEW.format(name)
