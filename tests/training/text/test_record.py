from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.training.settings import make_config

from memplus.training.tasks.learned_from import LearnedFrom
from memplus.training.text.record import write_record
from memplus.training.text.run_config import TrainingConfig


def starting(folder: Path) -> TrainingConfig:
    return make_config(folder, model={"start": str(folder), "trainable": "all"})


def trained(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())["trained"]
    return found


def test_a_record_says_what_was_learned_from_and_of_the_stage_before(tmp_path: Path) -> None:
    first, second = make_config(tmp_path), starting(tmp_path)
    counted = LearnedFrom(2)
    counted.add(7, None, 1, {})
    write_record(tmp_path, first, counted)
    before = trained(tmp_path)
    assert before["text_tokens"] == 14
    assert before["question_tokens"] == before["questions"] == 0
    assert before["steps"] == first.run.steps
    assert "start" not in before
    (tmp_path / "second").mkdir()
    write_record(tmp_path / "second", second, LearnedFrom(2))
    assert trained(tmp_path / "second")["start"] == before


@pytest.mark.parametrize("text", [None, "{", "[]", '{"trained": 3}'])
def test_a_start_without_a_record_is_no_fault(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "record.json").write_text(text)
    (tmp_path / "made").mkdir()
    write_record(tmp_path / "made", starting(tmp_path), None)
    assert trained(tmp_path / "made").keys().isdisjoint({"start", "questions", "question_tokens"})
