"""``memplus train finish``: a model in, the same model with other choices out."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.cli.conftest import Run
from tests.training.superseding.spans import TEXT, spans_model

from memplus.mplus.model import MPlus


def test_a_model_is_saved_with_what_is_set(run: Run, tmp_path: Path) -> None:
    spans_model().save_pretrained(tmp_path / "model")
    (tmp_path / "opening.txt").write_text(TEXT[:30])
    given = ["--rows", "int4", "--sharpens", "--opening", tmp_path / "opening.txt", "--half"]
    ran = run("train", "finish", tmp_path / "model", "--out", tmp_path / "out", *given, "--json")
    assert ran.code == 0, ran
    assert ran.data == {"model": str(tmp_path / "model"), "out": str(tmp_path / "out")}
    made = MPlus.from_pretrained(tmp_path / "out")
    assert made.memory_config.rows == "int4"
    assert made.pristine.tensors()
    kept = [
        one.dtype
        for file in (tmp_path / "out").glob("*.safetensors")
        for one in load_file(file).values()
        if one.is_floating_point()
    ]
    assert kept
    assert set(kept) == {torch.bfloat16}


def test_a_place_that_is_no_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    ran = run("train", "finish", "nano", "--out", tmp_path / "out", "--json")
    assert ran.code != 0
    assert str(tmp_path / "out") in ran.data["error"]["message"]
