"""The model that flags ask for."""

from pathlib import Path

import pytest
import torch

from memplus.cli.opening import load_model
from memplus.errors import ConfigError


def test_the_model_is_ready_to_answer_in_the_numbers_asked_for(tiny: Path) -> None:
    model = load_model(str(tiny), device=None, dtype="bfloat16")
    assert not model.training
    assert model.backbone.dtype == torch.bfloat16


def test_a_small_model_runs_on_one_thread(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(2)
    try:
        load_model(str(tiny), device=None, dtype=None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(count)


@pytest.mark.parametrize("options", [{"device": "abacus"}, {"dtype": "int7"}])
def test_a_device_or_dtype_that_is_not_there_is_named(tiny: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        load_model(str(tiny), **{"device": None, "dtype": None} | options)
