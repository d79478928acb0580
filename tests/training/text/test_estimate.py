from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.training.settings import make_config, stored, write_texts

from memplus.errors import TrainingBudgetError
from memplus.training.text import estimate
from memplus.training.text.estimate import needed_bytes
from memplus.training.text.runs import TextRun
from memplus.training.text.starting import starting_model


@pytest.fixture
def needed(tmp_path: Path) -> Any:
    write_texts(tmp_path)

    def needed(processes: int = 1, **changes: Any) -> dict[str, int]:
        config = make_config(tmp_path, **changes)
        return needed_bytes(starting_model(config), config, processes)

    return needed


def test_parts_are_counted(tmp_path: Path, needed: Any) -> None:
    parts = needed()
    config = make_config(tmp_path)
    weights = sum(weight.numel() for weight in starting_model(config).parameters())
    assert parts["gradients"] == 4 * weights
    assert parts["optimizer"] == 8 * weights
    assert parts["memories"] == 2 * 2 * 4 * 24 * 32 * 4  # twice, B, L, N, d, float
    config = stored(tmp_path)
    rows = needed_bytes(starting_model(config), config)["long-term memories"]
    assert rows == 2 * 4 * 40 * (32 + 8) * 4  # B, L, S, d + R, float
    assert parts["long-term memories"] == 0


def test_what_saves_memory_is_seen_to(needed: Any) -> None:
    parts = needed()
    assert needed(run={"documents": 4})["activations"] == 2 * parts["activations"]
    assert needed(processes=2)["memories"] == parts["memories"] // 2
    assert needed(optimizer={"kind": "muon"})["optimizer"] == parts["optimizer"] // 2
    sharded = needed(processes=2, run={"sharded": True})
    assert sharded["gradients"] == parts["gradients"] // 2
    assert needed(run={"precision": "bfloat16"})["activations"] < parts["activations"]


def test_checkpointing_needs_less(tmp_path: Path, needed: Any) -> None:
    given = {"backbone": str(tmp_path / "tiny"), "trainable": "all"}
    kept = needed(model=given)["activations"]
    assert needed(model=given | {"gradient_checkpointing": True})["activations"] < 0.8 * kept


def test_too_little_is_said_before_the_first_step_and_can_be_overridden(tmp_path: Path) -> None:
    write_texts(tmp_path)
    with pytest.raises(TrainingBudgetError, match=r"activations \d") as caught:
        TextRun(make_config(tmp_path, run={"memory_gib": 0.0001}))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run" / "checkpoints").exists()
    TextRun(make_config(tmp_path, run={"memory_gib": 1.0}))


def test_a_long_term_memory_in_main_memory_is_none_of_the_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_texts(tmp_path)
    parts = {"activations": 3 * 2**30, "long-term memories": 9 * 2**30}
    monkeypatch.setattr(estimate, "needed_bytes", lambda *_: dict(parts))
    monkeypatch.setattr(estimate.torch.cuda, "mem_get_info", lambda _: (4 * 2**30, 0))

    def check(main_gib: int, *, on_cpu: bool, given: float | None = None) -> None:
        config = make_config(tmp_path, run={"store_on_cpu": on_cpu, "memory_gib": given})
        free = SimpleNamespace(available=main_gib * 2**30)
        monkeypatch.setattr(estimate.psutil, "virtual_memory", lambda: free)
        model: Any = SimpleNamespace(device=torch.device("cuda"), parameters=list)
        estimate.check_memory(model, config)

    check(10, on_cpu=True)
    with pytest.raises(TrainingBudgetError, match=r"9\.0 GiB, but 8\.0 .*long-term memories"):
        check(8, on_cpu=True)
    check(8, on_cpu=True, given=4.0)
    with pytest.raises(TrainingBudgetError, match=r"12\.0 GiB, but 4\.0"):
        check(10, on_cpu=False)
