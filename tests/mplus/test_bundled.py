"""The list of bundled models says what is really there."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.mplus.bundle_folders import known_base, over, ship, write_base

from memplus import MPlus
from memplus.mplus.bases import known_bases
from memplus.mplus.bundled import BundledModel, bundle_for, bundled_models, known_base_of


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


def test_every_bundle_that_comes_with_the_package_is_of_a_base_model() -> None:
    folder = bundled_models()[0].path.parent / "bundles"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    assert names <= set(known_bases())
    for name in names:
        path = bundle_for(name)
        assert path is not None
        size = sum(file.stat().st_size for file in path.iterdir())
        assert size < 20_000_000
        assert known_base_of(name) == known_base_of(str(path)) == known_bases()[name]


def test_every_file_of_a_bundle_would_be_part_of_the_package(tmp_path: Path) -> None:
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    globs = settings["tool"]["setuptools"]["package-data"]["memplus"]
    folder = tmp_path / "assets" / "bundles" / "tiny"
    over(write_base(tmp_path / "base")).save_pretrained(folder, base="reference")
    (folder / "NOTICE").write_text("Made by us.")
    packed = {path for glob in globs for path in tmp_path.glob(glob)}
    assert set(folder.iterdir()) <= packed


def test_which_base_model_a_name_or_a_directory_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = known_base(tmp_path, monkeypatch)
    assert known_base_of("tiny") is None
    assert bundle_for("tiny") is None
    path = ship(tmp_path)
    assert bundle_for("tiny") == path
    assert known_base_of("tiny") == known_base_of(str(path)) == base
    assert known_base_of("nano") is None
    assert known_base_of(str(tmp_path)) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"base": null}', '{"base": {"kind": "name", "name": []}}', "[" * 99999],
)
def test_a_damaged_config_needs_no_base_until_it_is_loaded(tmp_path: Path, text: str) -> None:
    (tmp_path / "memplus.json").write_text(text)
    assert known_base_of(str(tmp_path)) is None


def test_listing_loads_no_model_library() -> None:
    code = (
        "import sys; from memplus.mplus.bundled import bundled_models; bundled_models();"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


AS_READ = {"retrieved_tokens": 128, "supersedes": True, "neighbours": True, "sharpens": True}
"""What `memplus train finish` and `train superseding` set after training."""


@pytest.mark.parametrize(
    ("name", "last", "differs"),
    [
        ("smollm2", "stage5", AS_READ),
        ("qwen-0.5b", "stage4", AS_READ),
    ],
)
def test_a_bundle_has_the_sizes_of_its_last_stage_but_for_what_docs_training_names(
    name: str, last: str, differs: dict[str, object]
) -> None:
    folder, root = bundle_for(name), Path(__file__).parents[2]
    assert folder is not None
    shipped = json.loads((folder / "memplus.json").read_text())["memory"]
    stage = yaml.safe_load((root / "configs" / name / f"{last}.yaml").read_text())["memory"]
    trained, found = (
        one | one["retrieval"] | one["adapters"] | {"retrieval": {}, "adapters": {}}
        for one in (stage, shipped)
    )
    rules = {key: found[key] for key in ("supersedes", "neighbours", "sharpens") if key in found}
    assert {k: found[k] for k in trained if found[k] != trained[k]} | rules == differs
