from __future__ import annotations

import pytest
import torch
from tests.fakes import make_mplus
from torch.nn import functional

from memplus.backbone.lower_layers import hidden_after
from memplus.systems.triples.vectors import PhraseVectors


@pytest.fixture(scope="module")
def vectors() -> PhraseVectors:
    return PhraseVectors(make_mplus().core)


def test_a_vector_is_the_mean_of_the_phrase_alone_less_the_centre(vectors: PhraseVectors) -> None:
    core = vectors.core
    ids = torch.tensor([[*core.encode("\n"), *core.encode("Nadia")]])
    mean = hidden_after(core.backbone, ids, 2)[0, 1:].mean(dim=0)
    expected = functional.normalize(mean - vectors.centre, dim=-1)
    assert torch.allclose(vectors(["Nadia"])[0], expected, atol=1e-6)
    assert vectors.centre.shape == (core.backbone.hidden_size,)


def test_vectors_have_unit_length_and_do_not_depend_on_what_stands_beside(
    vectors: PhraseVectors,
) -> None:
    found = vectors(["Nadia Brook", "Viktor", "employed by"])
    assert found.dtype == torch.float32
    assert torch.allclose(found.norm(dim=-1), torch.ones(3), atol=1e-6)
    assert found[1].equal(vectors(["Viktor"])[0])
    assert vectors([]).shape == (0, vectors.core.backbone.hidden_size)
    assert PhraseVectors(vectors.core)(["Viktor"]).equal(vectors(["Viktor"]))
