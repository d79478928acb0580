import torch
from tests.fakes import make_mplus


def test_frequencies_stay_in_float32_when_weights_do_not() -> None:
    model = make_mplus(dtype=torch.bfloat16)
    angles = model.backbone.rope.angles(None, 5, torch.zeros(1))
    expected = make_mplus().backbone.rope.angles(None, 5, torch.zeros(1))
    assert angles[0].dtype == torch.float32
    assert expected[0].shape == angles[0].shape
