"""The write pass against the stock model alone: every row, every length of chunk and context."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import (
    CONFIG,
    HIDDEN,
    LAYERS,
    distance,
    eager_for,
    make_model,
    make_mplus,
    slow_pass,
    some_ids,
)

from memplus import MPlus
from memplus.passes.write import WritePass, whole_write_pass, write_pass

TOLERANCE = 5e-5
ROWS = CONFIG.tokens_per_write


def context(count: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, LAYERS, count, HIDDEN, generator=generator)


def marks(model: MPlus, count: int) -> torch.Tensor:
    """[count, d]: the memory embedding for so many new rows."""
    return model.weights.memory_embedding.reshape(-1, HIDDEN).expand(count, -1)


def written(model: MPlus, tokens: int, kept: int, *, tiled: bool = False) -> WritePass:
    ids = some_ids(1, tokens)
    return write_pass(model.backbone, model.weights, ids, context(kept), ROWS, first_of_tiled=tiled)


@pytest.mark.parametrize("kept", [0, 2, 6])
@pytest.mark.parametrize("tokens", [1, 5, 6, 7, 40])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "mistral-window"])
def test_rows_equal_those_of_the_stock_model_with_the_context_before_the_chunk(
    name: str, tokens: int, kept: int
) -> None:
    model = make_mplus(name, attention=eager_for(name))
    made = min(ROWS, kept + tokens)
    bos = model.weights.bos_embedding
    assert bos is not None
    before = torch.cat([bos.reshape(LAYERS, 1, HIDDEN), context(kept)[0]], dim=1)
    reference = make_model(name, attention="eager")
    with torch.no_grad():
        found = written(model, tokens, kept)
        outputs = slow_pass(reference, before, some_ids(tokens), marks(model, made))[1]
    assert distance(found.rows[0], outputs[:, -made:]) <= TOLERANCE
    assert found.rows.shape == (1, LAYERS, made, HIDDEN)
    assert found.last_hidden.shape == (1, tokens, HIDDEN)


@pytest.mark.parametrize("tokens", [2, 10, 200])
def test_with_a_graph_the_rows_are_the_same(tokens: int) -> None:
    model = make_mplus()
    with torch.no_grad():
        fast = written(model, tokens, 6)
    kept = written(model, tokens, 6)
    assert kept.rows.requires_grad
    assert distance(fast.rows, kept.rows) <= TOLERANCE
    assert distance(fast.last_hidden, kept.last_hidden) <= TOLERANCE


def test_a_short_chunk_computes_the_newest_context_rows_again() -> None:
    """They come before the chunk, so what it says does not reach them."""
    model = make_mplus()
    with torch.no_grad():
        first = write_pass(model.backbone, model.weights, some_ids(1, 2), context(6), ROWS)
        other = write_pass(model.backbone, model.weights, some_ids(1, 2, seed=9), context(6), ROWS)
    assert distance(first.rows[:, :, :4], other.rows[:, :, :4]) == 0
    assert distance(first.rows[:, :, 4:], other.rows[:, :, 4:]) > 0.1
    # Context rows are marked and computed anew, layer by layer.
    assert distance(first.rows[0, :, :4], context(6)[0, :, 2:]) > 0.1


def test_rows_of_a_batch_equal_single_writes() -> None:
    model = make_mplus()
    ids, before = some_ids(3, 8), context(6, batch=3)
    with torch.no_grad():
        together = write_pass(model.backbone, model.weights, ids, before, ROWS).rows
        for row in range(3):
            part = slice(row, row + 1)
            alone = write_pass(model.backbone, model.weights, ids[part], before[part], ROWS).rows
            assert distance(together[part], alone) <= TOLERANCE


def test_the_first_write_of_a_tiled_pool_has_no_prefix_and_a_second_mark() -> None:
    model = make_mplus()
    with torch.no_grad():
        found = written(model, 10, 0, tiled=True).rows[0]
        nothing = torch.zeros(LAYERS, 0, HIDDEN)
        outputs = slow_pass(
            make_model(attention="eager"), nothing, some_ids(10), marks(model, ROWS)
        )[1]
        expected = outputs[:, -ROWS:]
        assert distance(found[-1], expected[-1]) <= TOLERANCE
        assert distance(found[:-1], expected[:-1] + marks(model, ROWS)) <= TOLERANCE


def test_a_write_changes_neither_its_input_nor_the_model() -> None:
    model = make_mplus()
    ids, before = some_ids(1, 4), context(6)
    kept, weights = before.clone(), {n: w.clone() for n, w in model.named_parameters()}
    with torch.no_grad():
        write_pass(model.backbone, model.weights, ids, before, ROWS)
    assert torch.equal(before, kept)
    assert ids.tolist() == some_ids(1, 4).tolist()
    assert all(torch.equal(w, weights[n]) for n, w in model.named_parameters())
    assert model.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("context", [0, 2, 6])
@pytest.mark.parametrize("tokens", [1, 3, 9])
def test_a_whole_write_leaves_rows_of_its_own_text_alone(tokens: int, context: int) -> None:
    model = make_mplus()
    rows = torch.randn(2, LAYERS, context, HIDDEN, generator=torch.Generator().manual_seed(3))
    ids = some_ids(2, tokens)
    own = min(tokens, 4)
    with torch.no_grad():
        made = whole_write_pass(model.backbone, model.weights, ids, rows, 4, span=4)
        expected = write_pass(model.backbone, model.weights, ids, rows, own)
    assert made.rows.shape == (2, LAYERS, 4, HIDDEN)
    assert torch.equal(made.rows[:, :, -own:], expected.rows)
    assert torch.equal(made.last_hidden, expected.last_hidden)
    filled = [place % own for place in range(4 - own)]
    assert torch.equal(made.rows[:, :, : 4 - own], expected.rows[:, :, filled])


@pytest.mark.parametrize(
    ("tokens", "rows", "span", "places"),
    [
        (3, 4, 4, [0, 0, 1, 2]),
        (1, 4, 4, [0, 0, 0, 0]),
        (6, 8, 4, [0, 1, 0, 1, 2, 3, 4, 5]),
        (5, 8, 4, [0, 0, 0, 0, 1, 2, 3, 4]),
        (8, 8, 4, [0, 1, 2, 3, 4, 5, 6, 7]),
        (9, 8, 4, [0, 1, 2, 3, 4, 5, 6, 7]),
        (3, 8, 4, [0, 1, 2, 0, 0, 0, 1, 2]),
        (4, 8, 4, [0, 1, 2, 3, 0, 1, 2, 3]),
        (3, 3, 1, [0, 1, 2]),
    ],
)
def test_what_a_chunk_leaves_of_its_first_span_free_repeats_that_span(
    tokens: int, rows: int, span: int, places: list[int]
) -> None:
    """Where K exceeds the chunk, spans that no token falls into repeat all of it."""
    model = make_mplus()
    ids = some_ids(1, tokens)
    with torch.no_grad():
        before = context(6)
        made = whole_write_pass(model.backbone, model.weights, ids, before, rows, span=span)
        own = write_pass(model.backbone, model.weights, ids, before, min(tokens, rows))
    assert torch.equal(made.rows, own.rows[:, :, places])


def test_a_repeated_row_has_the_gradient_of_all_its_places() -> None:
    model = make_mplus()
    made = whole_write_pass(model.backbone, model.weights, some_ids(1, 1), context(6), 4, span=4)
    mark = model.weights.memory_embedding
    (of_four,) = torch.autograd.grad(made.rows.sum(), mark, retain_graph=True)
    (of_one,) = torch.autograd.grad(made.rows[:, :, -1].sum(), mark)
    assert distance(of_four, 4 * of_one) <= TOLERANCE * float(of_four.abs().max())
