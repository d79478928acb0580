from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.masked.settings import write_base

from memplus.errors import MemplusError, TokenizerMissingError
from memplus.training.engine.stock_base import open_stock_base

CPU = torch.device("cpu")


def test_a_base_is_opened_without_gradients_in_the_dtype_asked_for(tmp_path: Path) -> None:
    base = open_stock_base(str(write_base(tmp_path)), "bfloat16", CPU)
    weights = list(base.backbone.model.parameters())
    assert weights
    assert not any(weight.requires_grad for weight in weights)
    assert base.backbone.dtype == torch.bfloat16
    assert base.decode(base.tokenizer.encode("a gate")) == "a gate"
    assert len(base.digest) == 64
    assert base.digest == open_stock_base(str(tmp_path / "tiny"), "float32", CPU).digest


def test_a_base_that_is_not_there_or_has_no_tokenizer_is_refused(tmp_path: Path) -> None:
    for file in write_base(tmp_path).glob("*token*"):
        file.unlink()
    with pytest.raises(TokenizerMissingError):
        open_stock_base(str(tmp_path / "tiny"), "float32", CPU)
    with pytest.raises(MemplusError):
        open_stock_base(str(tmp_path / "nothing"), "float32", CPU)
