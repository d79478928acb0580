from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from memplus.systems.ret_llm.nearest import HASHED_ABOVE, Nearest


def made(count: int, width: int = 24) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


def test_few_are_all_compared_and_the_most_similar_come_first() -> None:
    vectors = made(300)
    query = vectors[17] + 0.2 * vectors[18]
    cosines = functional.normalize(vectors, dim=-1) @ functional.normalize(query, dim=-1)
    expected = sorted(((float(c), i) for i, c in enumerate(cosines) if c >= 0.2), reverse=True)
    found = Nearest(vectors).at_least(query, 0.2)
    assert [place for _, place in found] == [place for _, place in expected]
    assert found[0][1] == 17
    assert found[0][0] == pytest.approx(expected[0][0], abs=1e-5)


@pytest.mark.parametrize("similarity", [0.7, 0.85, 0.95])
def test_many_that_are_hashed_give_what_comparing_all_gives(similarity: float) -> None:
    vectors = made(3000)
    hashed, plain = Nearest(vectors, hashed_above=1000), Nearest(vectors)
    generator = torch.Generator().manual_seed(2)
    unit = functional.normalize(vectors, dim=-1)
    for place in range(0, 3000, 100):
        noise = functional.normalize(torch.randn(24, generator=generator), dim=0)
        query = unit[place] + 0.35 * noise
        found, expected = (one.at_least(query, similarity) for one in (hashed, plain))
        assert [place for _, place in found] == [place for _, place in expected]
        values = [cosine for cosine, _ in expected]
        assert [cosine for cosine, _ in found] == pytest.approx(values, abs=1e-5)
    assert HASHED_ABOVE == 20_000


def test_of_no_text_nothing_is_near() -> None:
    assert Nearest(torch.zeros(0, 24)).at_least(made(1)[0], 0.1) == []
