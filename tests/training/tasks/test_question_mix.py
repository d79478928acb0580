from __future__ import annotations

from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.training.tasks.question_mix import QuestionMix
from memplus.training.tasks.question_texts import QuestionSource

STATEMENTS = (QuestionSource("statements"),)


def test_defaults_with_a_source_are_fine() -> None:
    QuestionMix(STATEMENTS).check_mix()


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("sources", {"sources": ()}),
        ("asked", {"asked": 0}),
        ("continued", {"continued": 11}),
        ("untold", {"untold": 1.5}),
        ("earlier", {"earlier": -0.1}),
        ("corrected", {"corrected": 2}),
        ("corrects", {"corrects": -1}),
        ("plain", {"plain": 1.0}),
        ("tail_tokens", {"tail_tokens": 0}),
    ],
)
def test_what_is_no_mix_is_named(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        QuestionMix(**{"sources": STATEMENTS} | given).check_mix()
    assert caught.value.fields["field"] == field
