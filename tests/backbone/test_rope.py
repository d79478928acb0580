import pytest
import torch
from tests.fakes import make_mplus

from memplus.backbone.rope import rotate, rotate_into


def test_frequencies_stay_in_float32_when_weights_do_not() -> None:
    model = make_mplus(dtype=torch.bfloat16)
    angles = model.backbone.rope.angles(None, 5, torch.zeros(1))
    expected = make_mplus().backbone.rope.angles(None, 5, torch.zeros(1))
    assert angles[0].dtype == torch.float32
    assert expected[0].shape == angles[0].shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [8, 11], ids=["all of it", "a part of it"])
def test_a_room_whose_rows_lie_side_by_side_gets_the_same_numbers(
    dtype: torch.dtype, width: int
) -> None:
    """Over several blocks, the last one not full."""
    generator = torch.Generator().manual_seed(1)
    keys = torch.randn(1100, 2, width, generator=generator).to(dtype)
    angles = tuple(torch.rand(2000, 4, generator=generator).to(dtype) for _ in range(2))
    positions = torch.randperm(2000, generator=generator)[:1100]
    room = torch.empty(2, 1100, width, dtype=dtype)
    aside = torch.empty(2, width, 1100, dtype=dtype).transpose(1, 2)
    rotate_into(room, keys, (angles[0], angles[1]), positions)
    rotate_into(aside, keys, (angles[0], angles[1]), positions)
    assert torch.equal(room, aside)
    expected = rotate(keys, (angles[0][positions], angles[1][positions])).transpose(0, 1)
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(room, expected, atol=tolerance, rtol=0)
