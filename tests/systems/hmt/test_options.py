from __future__ import annotations

from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.systems.hmt.options import HMTOptions


def test_a_segment_and_its_slots_take_256_positions() -> None:
    options = HMTOptions()
    assert options.segment_tokens + options.sensory_tokens + 2 == 256
    assert options.summary_tokens == 111
    assert (options.kept, HMTOptions(retrieval="off").kept) == (300, 1)


@pytest.mark.parametrize(
    ("fraction", "tokens"), [(0.5, 6), (0.25, 3), (1.0, 13), (0.01, 1), (0.3, 4)]
)
def test_a_part_of_a_segment_is_rounded_to_tokens(fraction: float, tokens: int) -> None:
    assert HMTOptions(segment_tokens=13, summary_fraction=fraction).summary_tokens == tokens


@pytest.mark.parametrize(
    "wrong",
    [
        {"segment_tokens": 0}, {"sensory_tokens": -1}, {"cache": 0}, {"retrieval_dim": 0},
        {"summary_fraction": 0.0}, {"summary_fraction": 1.1}, {"rank": -1}, {"alpha": 0},
        {"published": True}, {"retrieval": "of"}, {"summary_of": "x"},
    ],
)  # fmt: skip
def test_impossible_sizes_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HMTOptions(**wrong)
