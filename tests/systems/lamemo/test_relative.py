"""The relative encoding: one sinusoid for a distance, two biases for its side."""

import torch
from torch import Tensor

from memplus.systems.lamemo.relative import Biases, RelativeScoring, sinusoids

HEADS, WIDTH = 2, 3
FREQUENCIES = torch.tensor([1.0, 0.5])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


BIASES = Biases(drawn(HEADS, WIDTH, seed=1), drawn(HEADS, WIDTH, seed=2), drawn(HEADS, WIDTH))
KNOWN = drawn(12, HEADS, WIDTH, seed=3)
QUERY, KEY = drawn(1, HEADS, 3, WIDTH, seed=4), drawn(1, HEADS, 7, WIDTH, seed=5)


def total(scoring: RelativeScoring, *, right: bool) -> Tensor:
    found = scoring.right(QUERY, KEY[:, :, 2:4], 2) if right else scoring.left(QUERY, KEY)
    assert found.position is not None
    return found.query @ found.key.transpose(2, 3) * found.scale + found.position


def by_hand(head: int, query: Tensor, key: Tensor, distance: int, bias: Tensor) -> float:
    content = (query + BIASES.content[head]) @ key
    position = (query + bias[head]) @ KNOWN[distance, head]
    return float((content + position) / WIDTH**0.5)


def test_sinusoids_are_sines_and_then_cosines() -> None:
    found = sinusoids(3, FREQUENCIES)
    assert found.shape == (3, 4)
    assert found[0].tolist() == [0, 0, 1, 1]
    assert torch.allclose(found[2], torch.tensor([2.0, 1, 2, 1]).sin().where(
        torch.tensor([True, True, False, False]), torch.tensor([2.0, 1, 2, 1]).cos()
    ))  # fmt: skip


def test_the_segment_looks_left_with_v() -> None:
    found = total(RelativeScoring(KNOWN, BIASES), right=False)
    for head in range(HEADS):
        for t in range(3):
            for j in range(4 + t + 1):
                expected = by_hand(head, QUERY[0, head, t], KEY[0, head, j], 4 + t - j, BIASES.left)
                assert abs(float(found[0, head, t, j]) - expected) < 1e-5


def test_what_is_remembered_looks_right_with_its_own_bias_and_the_same_distance() -> None:
    found = total(RelativeScoring(KNOWN, BIASES), right=True)
    for head in range(HEADS):
        for p in range(3):
            for j in range(max(2, p + 1), 4):
                expected = by_hand(head, QUERY[0, head, p], KEY[0, head, j], j - p, BIASES.right)
                assert abs(float(found[0, head, p, j - 2]) - expected) < 1e-5


def test_distances_beyond_the_clamp_are_the_clamp() -> None:
    found = total(RelativeScoring(KNOWN, BIASES, clamp=2), right=False)
    far = by_hand(0, QUERY[0, 0, 2], KEY[0, 0, 0], 2, BIASES.left)
    near = by_hand(0, QUERY[0, 0, 2], KEY[0, 0, 5], 1, BIASES.left)
    assert abs(float(found[0, 0, 2, 0]) - far) < 1e-5
    assert abs(float(found[0, 0, 2, 5]) - near) < 1e-5
