import pytest
import torch

from memplus.config import MemoryConfig, SpanRetrieval
from memplus.memory import retriever
from memplus.memory.retriever import (
    MemoryWeights,
    best_first,
    directions,
    mean_match,
    oldest_first,
    retrieval_scores,
    sharpened,
    span_matches,
    with_neighbours,
)


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


@pytest.mark.parametrize("at_a_time", [1, 4 * 15, 9 * 15, 1 << 20])
@pytest.mark.parametrize("shared_keys", [False, True])
def test_a_batch_has_the_scores_of_its_prompts_one_by_one(
    shared_keys: bool, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retriever, "_MATCHES", at_a_time)
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(3, 5, 4, generator=generator)
    keys = torch.randn(*(() if shared_keys else (3,)), 9, 4, generator=generator)
    batch = retrieval_scores(queries, keys)
    for index, own in enumerate(queries):
        alone = retrieval_scores(own, keys if shared_keys else keys[index])
        torch.testing.assert_close(batch[index], alone)
    share = torch.rand(3, 5, generator=generator)
    weighed = retrieval_scores(queries, keys, share)
    none = retrieval_scores(queries[:0], keys[:0] if keys.dim() == 3 else keys)
    matches = torch.sigmoid(queries @ keys.transpose(-1, -2))
    torch.testing.assert_close(batch, mean_match(matches, None))
    torch.testing.assert_close(weighed, mean_match(matches, share))
    queries.requires_grad_()
    (slow,) = torch.autograd.grad(torch.sigmoid(queries @ keys.mT).mean(dim=1).sum(), queries)
    (found,) = torch.autograd.grad(retrieval_scores(queries, keys).sum(), queries)
    torch.testing.assert_close(found, slow)
    assert none.shape == (0, 9)


def test_a_share_of_nothing_is_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(2, 5, 4, generator=generator)
    keys = torch.randn(7, 4, generator=generator)
    there = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    scores = retrieval_scores(queries, keys, there / there.sum(dim=1, keepdim=True))
    torch.testing.assert_close(scores[0], retrieval_scores(queries[0, :3], keys))
    torch.testing.assert_close(scores[1], retrieval_scores(queries[1], keys))


def test_scores_with_a_graph_are_those_without_one() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(5, 4, generator=generator)
    keys = torch.randn(30, 4, generator=generator)
    learned = retrieval_scores(queries.clone().requires_grad_(), keys)
    assert learned.requires_grad
    torch.testing.assert_close(learned.detach(), retrieval_scores(queries, keys))


@pytest.mark.parametrize("form", ["one", "batch", "padded"])
def test_gradients_of_scores_reach_queries_and_keys(form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = () if form == "one" else (2,)
    queries = torch.randn(*batch, 3, 4, generator=generator, dtype=torch.float64).float()
    keys = torch.randn(6, 4, generator=generator)
    share = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]) if form == "padded" else None
    queries.requires_grad_()
    keys.requires_grad_()
    retrieval_scores(queries, keys, share).sum().backward()
    step = 1e-3
    for tensor in (queries, keys):
        assert tensor.grad is not None
        with torch.no_grad():
            up = tensor.clone()
            up.view(-1)[1] += step
            pair = (up, keys) if tensor is queries else (queries, up)
            rise = (retrieval_scores(*pair, share) - retrieval_scores(queries, keys, share)).sum()
        assert float(tensor.grad.view(-1)[1]) == pytest.approx(float(rise) / step, abs=2e-2)
        assert float(tensor.grad.view(-1)[1]) != 0


def span_scores(queries, keys, span, share=None):
    return mean_match(span_matches(queries, directions(keys), span), share)


def test_span_scores_are_the_mean_over_tokens_of_the_best_match_in_each_span():
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(3, 5, generator=generator)
    keys = torch.randn(8, 5, generator=generator)
    found = span_scores(queries, keys, 4)
    for span in range(2):
        own = keys[4 * span : 4 * span + 4]
        best = [max(float(q @ k / k.norm()) for k in own) for q in queries]
        assert float(found[span]) == pytest.approx(sum(best) / 3, abs=1e-5)


def test_padding_does_not_count_in_span_scores():
    queries, keys = torch.randn(2, 4, 5), torch.randn(2, 6, 5)
    share = torch.tensor([[0.5, 0.5, 0, 0], [0.25] * 4])
    found = span_scores(queries, keys, 3, share)
    assert torch.allclose(found[0], span_scores(queries[0, :2], keys[0], 3), atol=1e-6)
    assert torch.allclose(found[1], span_scores(queries[1], keys[1], 3), atol=1e-6)


def test_spans_are_asked_for_at_one_layer_alone():
    config = MemoryConfig(
        short_term_tokens=8, retrieved_tokens=8, tokens_per_write=4, chunk_tokens=4, drop="shared",
        retrieval=SpanRetrieval(span_rows=4, layer=2),
    )  # fmt: skip
    weights = MemoryWeights(5, 16, config)
    assert list(weights.retrieving) == [2]
    assert weights.layer_retriever(2) is weights.retriever[0]


def test_scores_by_directions_are_those_of_the_keys():
    queries, keys = torch.randn(3, 5), torch.randn(8, 5).to(torch.bfloat16)
    unit = directions(keys)
    assert unit.dtype == torch.float32
    assert torch.allclose(unit.norm(dim=1), torch.ones(8))
    matches = span_matches(queries, unit, 4)
    assert torch.equal(matches.mean(dim=0), span_scores(queries, keys, 4))
    for token, span in [(token, span) for token in range(3) for span in range(2)]:
        best = max(float(queries[token] @ one) for one in unit[4 * span : 4 * span + 4])
        assert float(matches[token, span]) == pytest.approx(best, abs=1e-6)


def test_a_token_that_matches_one_span_far_better_decides_over_many_that_do_a_little():
    """Of the first span one token knows much, of the second five tokens a little more each."""
    matches = torch.zeros(6, 12)
    matches[0, 0], matches[1:, 1] = 3.0, 0.7
    assert int(matches.mean(dim=0).argmax()) == 1
    scores = sharpened(matches, 10)
    assert int(scores.argmax()) == 0
    for span in range(12):
        above = [max(0.0, float(one[span] - one[:10].mean())) for one in matches]
        assert float(scores[span]) == pytest.approx(sum(one**1.5 for one in above) / 6, abs=1e-6)


def test_what_rows_have_in_common_is_taken_from_them() -> None:
    config = MemoryConfig(
        short_term_tokens=8, retrieved_tokens=8, tokens_per_write=4, chunk_tokens=4, drop="shared",
        retrieval=SpanRetrieval(span_rows=4, layer=0),
    )  # fmt: skip
    retriever = MemoryWeights(1, 16, config).layer_retriever(0)
    generator = torch.Generator().manual_seed(0)
    rows = 0.1 * torch.randn(200, 16, generator=generator) + 5
    with torch.no_grad():
        alike = torch.nn.functional.normalize(retriever.keys(rows), dim=1)
        retriever.begin(rows)
        apart = torch.nn.functional.normalize(retriever.keys(rows), dim=1)
    assert float((alike @ alike.T).mean()) > 0.95
    assert abs(float((apart @ apart.T).mean())) < 0.1
    assert retriever.queries(rows).equal(retriever.keys(rows))


def test_of_spans_that_take_one_place_the_first_one_dropped_comes_first() -> None:
    scores = torch.full((40,), 0.5)
    scores[[7, 21, 30]] = torch.inf
    assert best_first(scores, 5).tolist() == [7, 21, 30, 0, 1]
    apart = torch.arange(40) * 100
    assert with_neighbours(scores, apart, 4, 4).tolist() == [7, 21, 30, 0]
