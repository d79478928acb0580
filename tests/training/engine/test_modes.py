from __future__ import annotations

import pytest
from tests.fakes import make_mplus

from memplus.training.engine.modes import training_mode


def test_the_model_is_as_before_also_after_an_error() -> None:
    model = make_mplus()
    with pytest.raises(KeyboardInterrupt), training_mode(model):
        assert model.training
        assert model.backbone.attention_implementation == "eager"
        raise KeyboardInterrupt
    assert not model.training
    assert model.backbone.attention_implementation == "sdpa"
