from pathlib import Path

import pytest
import torch

from memplus.errors import CorruptMemoryError
from memplus.systems.latent.mechanism import Share
from memplus.systems.latent.sources import Sources
from memplus.systems.protocol import Evidence

PATH = Path("s")


@pytest.fixture
def sources() -> Sources:
    made = Sources()
    for source, tokens in (("a", 4), ("a", 2), ("b", 3), ("a", 5), ("größer", 1)):
        made.add(source, tokens)
    return made


def test_a_source_that_comes_back_goes_on_where_it_was(sources: Sources) -> None:
    assert sources.tokens == 15
    assert sources.evidence([Share(9, 14, 1.0)]) == (Evidence("a", 6, 11, 1.0),)


def test_a_part_of_several_sources_is_divided_by_its_tokens(sources: Sources) -> None:
    found = sources.evidence([Share(4, 14, 0.5), Share(0, 4, 0.4)])
    assert found == (
        Evidence("a", 0, 4, 0.4),
        Evidence("a", 6, 11, 0.25),
        Evidence("b", 0, 3, pytest.approx(0.15)),
        Evidence("a", 4, 6, 0.1),
    )


def test_what_was_not_told_is_no_evidence(sources: Sources) -> None:
    assert sources.evidence([Share(14, 18, 0.8)]) == (Evidence("größer", 0, 1, 0.2),)
    assert sources.evidence([Share(15, 18, 0.8), Share(0, 4, 0.0)]) == ()
    assert Sources().evidence([Share(0, 4, 1.0)]) == ()


def test_they_are_kept_and_counted(sources: Sources) -> None:
    tensors = sources.tensors()
    assert sources.nbytes == sum(one.nbytes for one in tensors.values())
    kept = Sources.of_tensors(tensors, PATH)
    for one in (kept, sources):
        one.add("b", 2)
    share = [Share(0, 17, 1.0)]
    assert kept.evidence(share) == sources.evidence(share)
    assert Sources.of_tensors(Sources().tensors(), PATH).tokens == 0


def test_a_copy_goes_its_own_way(sources: Sources) -> None:
    copy = sources.copy()
    copy.add("c", 3)
    assert (copy.tokens, sources.tokens) == (18, 15)
    assert sources.nbytes < copy.nbytes


@pytest.mark.parametrize(
    "runs", [[[0, 4], [3, 1]], [[0, 0]], [[0, 2], [0, 2]], [[1, 2], [0, 2], [2, 1]], [[0, 2]]]
)
def test_runs_that_do_not_add_up_are_refused(sources: Sources, runs: list[list[int]]) -> None:
    with pytest.raises(CorruptMemoryError, match="runs"):
        Sources.of_tensors(sources.tensors() | {"runs": torch.tensor(runs)}, PATH)
