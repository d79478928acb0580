"""``memplus train superseding``: a model in, the same model with a rule out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.training.superseding.spans import TEXT, spans_model

from memplus.errors import StorageError
from memplus.memory.superseding import FEATURES
from memplus.mplus.model import MPlus

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("given") / "model"
    spans_model().save_pretrained(path)
    return path


def test_a_place_that_is_no_folder_is_refused_before_anything_is_told(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("")
    (tmp_path / "book.txt").write_text(TEXT)
    given = ["--model", tmp_path / "no model", "--texts", tmp_path / "book.txt"]
    ran = run("train", "superseding", *given, "--out", tmp_path / "out", "--json")
    assert ran.code == StorageError.exit_code
    assert str(tmp_path / "out") in ran.data["error"]["message"]


@pytest.mark.long
def test_a_model_gets_a_rule(run: Run, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    given = ["--model", folder, "--texts", tmp_path / "book.txt", "--distances", "0,300"]
    given += ["--streams", 8, "--items", 2]
    ran = run("train", "superseding", *given, "--out", tmp_path / "out", "--json")
    assert ran.code == 0, ran
    assert ran.data["model"] == str(tmp_path / "out")
    assert set(ran.data) == {"model", "rule", "fitted", "cross_validated", "held_out"}
    model = MPlus.from_pretrained(tmp_path / "out")
    assert model.weights.superseding is not None
    assert model.weights.superseding.tolist() == list(ran.data["rule"].values())
    assert len(ran.data["rule"]) == len(FEATURES) + 1
    shown = run("train", "superseding", *given, "--out", tmp_path / "again")
    assert shown.code == 0
    pairs = ran.data["fitted"]
    for number in (pairs["replaced"], pairs["pairs"] - pairs["replaced"], f"{pairs['area']:.3f}"):
        assert str(number) in shown.out
    assert "held-out topics" in shown.out


def test_passages_that_are_none_are_named_before_anything_is_read(
    run: Run, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    given = ["--model", folder, "--texts", tmp_path / "book.txt", "--out", tmp_path / "out"]
    ran = run("train", "superseding", *given, "--passages", tmp_path / "none.json", "--json")
    assert ran.code == 2
    assert "none.json" in ran.data["error"]["message"]
    (tmp_path / "set.json").write_text("{}")
    ran = run("train", "superseding", *given, "--passages", tmp_path / "set.json", "--json")
    assert ran.data["error"]["type"] == "QuestionSetError"


def test_the_bundled_model_has_no_spans_to_replace(run: Run, tmp_path: Path) -> None:
    ran = run("train", "superseding", "--model", "nano", "--out", tmp_path / "out", "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "ConfigError")
    assert not (tmp_path / "out").exists()
