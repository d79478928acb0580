import pytest
import torch

from memplus.memory import retriever
from memplus.memory.retriever import oldest_first, retrieval_scores


@pytest.mark.parametrize("rows", [1, 7, 8, 25])
def test_scores_are_the_mean_of_sigmoids_however_many_blocks(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retriever, "_BLOCK", 8)
    generator = torch.Generator().manual_seed(rows)
    queries = torch.randn(5, 4, generator=generator)
    keys = torch.randn(rows, 4, generator=generator)
    slow = [sum(1 / (1 + (-query @ key).exp()) for query in queries) / len(queries) for key in keys]
    assert torch.allclose(retrieval_scores(queries, keys), torch.stack(slow), atol=1e-6)


def test_scores_of_half_precision_keys_are_full_precision() -> None:
    keys = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    queries = torch.ones(2, 4, dtype=torch.bfloat16)
    scores = retrieval_scores(queries, keys)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, retrieval_scores(queries.float(), keys.float()))


def test_retrieved_rows_are_read_oldest_first_and_later_ones_first_among_equals() -> None:
    birth = torch.tensor([5, 1, 5, 3])
    assert oldest_first(torch.tensor([0, 1, 2, 3]), birth).tolist() == [1, 3, 2, 0]
