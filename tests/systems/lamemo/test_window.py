"""The window: what is kept, moved on, repeated and restored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from memplus.systems.lamemo.layer_step import LayerStep, Remembered, Scores
from memplus.systems.lamemo.window import Sizes, Window, empty_window, moved, restored_window

SIZES = Sizes(memory=5, layers=2, heads=3, head_dim=4, hidden=6)
LIKE = torch.zeros(1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def window(rows: int = 2, count: int = 5) -> Window:
    return Window(
        drawn(rows, count, 6), drawn(2, rows, count, 3, 4), drawn(2, rows, count, 3), 4, 9
    )


def steps(rows: int, total: int) -> list[LayerStep]:
    nothing = Scores(LIKE, LIKE, 1.0)
    return [
        LayerStep(
            Remembered(drawn(rows, total, 3, 4, seed=layer), drawn(rows, total, 3, seed=layer)),
            nothing,
            None,
            None,
        )
        for layer in range(2)
    ]


def test_it_begins_with_nothing() -> None:
    empty = empty_window(SIZES, 3, LIKE)
    assert empty.count == empty.tokens == empty.last == 0
    assert empty.nbytes == 16
    assert empty_window(SIZES, 1, LIKE.bfloat16()).logs.dtype == torch.float32


def test_it_grows_and_then_moves() -> None:
    found = empty_window(SIZES, 1, LIKE)
    counts = []
    for tokens in (3, 3, 2):
        total = found.count + tokens
        found = moved(found, drawn(1, total, 6), steps(1, total), SIZES.memory)
        counts.append((found.count, found.last, found.tokens))
    assert counts == [(3, 3, 3), (5, 3, 6), (5, 2, 8)]
    assert torch.equal(found.embeddings, drawn(1, 7, 6)[:, 2:])
    for layer, step in enumerate(steps(1, 7)):
        assert torch.equal(found.layer(layer).context, step.remembered.context[:, 2:])
        assert torch.equal(found.layer(layer).logs, step.remembered.logs[:, 2:])


def test_it_moves_without_a_graph() -> None:
    given = [
        one._replace(remembered=Remembered(*(part.requires_grad_() for part in one.remembered)))
        for one in steps(1, 3)
    ]
    found = moved(empty_window(SIZES, 1, LIKE), drawn(1, 3, 6).requires_grad_(), given, 5)
    assert not any(one.requires_grad for one in found.tensors.values())


def test_its_size_is_that_of_its_tensors() -> None:
    assert window(1).nbytes == 4 * 5 * (6 + 2 * 3 * (4 + 1)) + 16


def test_rows_are_taken_and_repeated() -> None:
    whole = window()
    second = whole.of_rows([1])
    assert torch.equal(second.embeddings[0], whole.embeddings[1])
    three = second.repeated(3)
    assert three.rows == 3
    assert (three.last, three.tokens) == (4, 9)
    tensors = three.tensors
    assert tensors["embeddings"].shape[0] == tensors["context"].shape[1] == 3
    assert tensors["logs"].shape[1] == 3
    assert torch.equal(tensors["context"][:, 2], whole.context[:, 1])


def test_rows_of_one_text_have_one_window() -> None:
    """However they are repeated and taken, a text that no row has been told is not kept."""
    whole = window()
    four = whole.repeated(2)
    assert (four.rows, four.texts, len(four.embeddings)) == (4, (0, 0, 1, 1), 2)
    some = four.of_rows([3, 0, 2])
    assert (some.rows, some.texts, len(some.embeddings)) == (3, (1, 0, 1), 2)
    last = some.of_rows([2, 0])
    assert (last.rows, last.texts, len(last.embeddings)) == (2, (0, 0), 1)
    assert torch.equal(last.spread().context, whole.context[:, [1, 1]])
    alone = last.of_rows([1])
    assert alone.texts is None
    assert torch.equal(alone.logs, whole.logs[:, 1:])
    turned = whole.of_rows([1, 0])
    assert torch.equal(turned.tensors["embeddings"], whole.embeddings[[1, 0]])


def test_it_is_cut_from_its_graph() -> None:
    attached = replace(window(), context=window().context.requires_grad_())
    assert not attached.detached().context.requires_grad


def test_it_is_restored() -> None:
    found = restored_window(window().tensors, SIZES, LIKE)
    for name, tensor in window().tensors.items():
        assert torch.equal(found.tensors[name], tensor)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"embeddings": drawn(5, 6)}, "embeddings are"),
        ({"embeddings": drawn(2, 5, 7)}, "embeddings is"),
        ({"context": drawn(3, 2, 5, 3, 4)}, r"context is \[3"),
        ({"context": drawn(2, 2, 5, 3, 4).bfloat16()}, "bfloat16"),
        ({"logs": drawn(2, 2, 4, 3)}, "logs is"),
        ({"counts": torch.tensor([1, 2, 3])}, "counts is"),
        ({"counts": torch.tensor([10, 9])}, "counts are"),
        ({"counts": torch.tensor([1, 4])}, "counts are"),
        ({"counts": torch.tensor([-1, 9])}, "counts are"),
        ({"counts": torch.tensor([0, 9])}, "counts are"),
        ({"other": drawn(1)}, "other"),
    ],
)
def test_other_tensors_are_refused(changes: dict[str, Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        restored_window({**window().tensors, **changes}, SIZES, LIKE)


def test_a_window_that_has_lost_what_it_had_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="counts are"):
        restored_window(window().tensors, replace(SIZES, memory=6), LIKE)


def test_a_longer_window_than_there_is_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="counts are"):
        restored_window(window().tensors, replace(SIZES, memory=4), LIKE)
