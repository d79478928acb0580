from __future__ import annotations

from pathlib import Path

import pytest
from tests.backbone.test_lora import drawn
from tests.fakes import make_model, make_tokenizer
from tests.training.masked.settings import make_config, write_base

from memplus.backbone.access import Backbone
from memplus.errors import TrainingError
from memplus.training.masked.step import MaskedStep
from memplus.training.masked.workload import MaskedWorkload


def made(folder: Path, positions: int = 2048, processes: int = 1) -> MaskedWorkload:
    write_base(folder)
    backbone = Backbone(make_model())
    step = MaskedStep(backbone, drawn(backbone))
    return MaskedWorkload(
        step, make_config(folder), make_tokenizer(), positions=positions, processes=processes
    )


def test_a_step_draws_the_same_examples_whatever_was_drawn_before(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    drawn_before = [one.examples(step, 0) for step in range(4)]
    assert two.examples(3, 0) == drawn_before[3]
    assert len({str(examples) for examples in drawn_before}) == 4
    assert one.draw(2, 0).packed.ids.equal(two.draw(2, 0).packed.ids)
    assert one.examples(0, 1) != one.examples(0, 0)


def test_an_example_beyond_the_positions_and_several_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="positions"):
        made(tmp_path / "short", positions=8).draw(0, 0)
    with pytest.raises(TrainingError, match="one process"):
        made(tmp_path / "many", processes=2)


def test_nothing_is_kept_from_step_to_step(tmp_path: Path) -> None:
    workload = made(tmp_path)
    workload.restore(workload.tensors(), workload.state())
    assert (workload.tensors(), workload.state()) == ({}, {})
