"""The list of bundled models says what is really there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memplus import MPlus
from memplus.mplus.bundled import BundledModel, bundled_models


@pytest.mark.parametrize("bundled", bundled_models(), ids=lambda model: model.name)
def test_what_is_said_of_a_bundled_model_is_so(bundled: BundledModel) -> None:
    model = MPlus.from_pretrained(bundled.name)
    assert sum(weight.numel() for weight in model.parameters()) == bundled.parameters
    assert bundled.nbytes == sum(path.stat().st_size for path in bundled.path.glob("*"))
    assert "\n" not in bundled.purpose
    assert (Path(__file__).parents[2] / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert bundled.licence == "Apache-2.0"


def test_every_directory_of_a_model_is_listed() -> None:
    assets = bundled_models()[0].path.parent
    folders = {path.name for path in assets.iterdir() if (path / "memplus.json").is_file()}
    assert folders == {model.name for model in bundled_models()}


def test_listing_loads_no_model_library() -> None:
    code = (
        "import sys; from memplus.mplus.bundled import bundled_models; bundled_models();"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
