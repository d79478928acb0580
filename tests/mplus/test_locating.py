"""What a name leads to: a directory, and what a bundle would call it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tests.mplus.bundle_folders import answers, known_base, over, ship, write_base

from memplus import MPlus
from memplus.errors import (
    BaseUnavailableError,
    BundleBaseMissingError,
    UnknownModelError,
    UntrainedBaseError,
)
from memplus.mplus.base_cache import cached_base, remove_base
from memplus.mplus.bases import known_bases
from memplus.mplus.bundled import BUNDLED
from memplus.mplus.locating import locate, locate_backbone, locate_memory_model


def test_a_directory_is_called_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_base(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    found = locate("base")
    assert (found.kind, found.name, found.revision) == ("folder", str(tmp_path / "base"), None)
    over("base").save_pretrained("bundle", base="reference")
    expected = answers(MPlus.from_pretrained("bundle"))
    monkeypatch.chdir("/")
    assert torch.equal(answers(MPlus.from_pretrained(tmp_path / "bundle")), expected)


def test_a_bundled_model_is_called_by_its_name_and_serves_as_a_base(tmp_path: Path) -> None:
    assert locate("nano").kind == "name"
    nano = MPlus.from_pretrained("nano")
    nano.save_pretrained(tmp_path / "bundle", base="reference")
    held = sum(file.stat().st_size for file in (tmp_path / "bundle").iterdir())
    assert held < BUNDLED["nano"].nbytes / 2
    assert torch.equal(answers(MPlus.from_pretrained(tmp_path / "bundle")), answers(nano))


def test_a_snapshot_of_the_hub_is_called_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the hub's client leaves it; nothing is reached.
    commit = "0123456789abcdef0123456789abcdef01234567"
    there = tmp_path / "hub" / "models--nobody--tiny"
    write_base(there / "snapshots" / commit)
    (there / "refs").mkdir()
    (there / "refs" / "main").write_text(commit)
    cached = {"cache_dir": tmp_path / "hub"}
    found = locate("nobody/tiny", {"cache_dir": tmp_path / "hub"})
    assert (found.kind, found.name, found.revision) == ("hub", "nobody/tiny", commit)
    model = over("nobody/tiny", **cached)
    model.save_pretrained(tmp_path / "bundle", base="reference")
    loaded = MPlus.from_pretrained(tmp_path / "bundle", cache_dir=tmp_path / "hub")
    assert torch.equal(answers(loaded), answers(model))
    shutil.rmtree(there)
    with pytest.raises(BundleBaseMissingError, match="nobody/tiny: the hub did not give it"):
        MPlus.from_pretrained(tmp_path / "bundle", cache_dir=tmp_path / "hub")


def test_a_bundle_of_the_hub_is_put_on_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_base(tmp_path, monkeypatch)
    commit = "0123456789abcdef0123456789abcdef01234567"
    there = tmp_path / "hub" / "models--nobody--bundle"
    shutil.copytree(ship(tmp_path), there / "snapshots" / commit)
    (there / "snapshots" / commit / "NOTICE").write_text("Made by nobody.")
    (there / "refs").mkdir()
    (there / "refs" / "main").write_text(commit)
    loaded = MPlus.from_pretrained("nobody/bundle", revision=commit, cache_dir=tmp_path / "hub")
    assert torch.equal(answers(loaded), answers(MPlus.from_pretrained("tiny")))
    loaded.save_pretrained(tmp_path / "own", base="reference")
    assert (tmp_path / "own" / "NOTICE").read_text() == "Made by nobody."
    assert '"name": "tiny"' in (tmp_path / "own" / "memplus.json").read_text()


def test_what_is_nothing_of_these_is_unknown(tmp_path: Path) -> None:
    for name in ("nanno", str(tmp_path / "missing"), "./a/b", "a/b/c"):
        with pytest.raises(UnknownModelError):
            locate(name)


def test_a_base_models_name_loads_the_bundle_that_comes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = known_base(tmp_path, monkeypatch)
    with pytest.raises(UntrainedBaseError, match="not fetched yet"):
        MPlus.from_pretrained("tiny")
    expected = answers(over("tiny"))
    bundle = ship(tmp_path)
    remove_base("tiny")
    capsys.readouterr()
    model = MPlus.from_pretrained("tiny")
    said = capsys.readouterr().err
    assert said.count("Fetching tiny (nobody/tiny): 0 MB, licence Apache-2.0") == 1
    assert cached_base(base) is not None
    assert torch.equal(answers(model), expected)
    assert model.name == "tiny"
    assert locate_memory_model("tiny").path == bundle
    MPlus.from_pretrained("tiny")
    assert capsys.readouterr().err == ""


def test_offline_it_is_said_which_file_of_the_base_to_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_base(tmp_path, monkeypatch)
    ship(tmp_path)
    remove_base("tiny")
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(BaseUnavailableError, match="no source may be asked"):
        MPlus.from_pretrained("tiny", local_files_only=True)
    with pytest.raises(BaseUnavailableError) as refused:
        MPlus.from_pretrained("tiny")
    assert "memplus pull tiny --from FILE" in refused.value.hint


def test_a_base_that_this_release_does_not_know_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_base(tmp_path, monkeypatch)
    bundle = ship(tmp_path)
    monkeypatch.delitem(known_bases(), "tiny")
    with pytest.raises(BundleBaseMissingError, match="knows no model of that name"):
        MPlus.from_pretrained(bundle)


def test_a_bundle_saved_elsewhere_still_names_the_base_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_base(tmp_path, monkeypatch)
    ship(tmp_path)
    model = MPlus.from_pretrained("tiny")
    model.save_pretrained(tmp_path / "own", base="reference")
    assert '"name": "tiny"' in (tmp_path / "own" / "memplus.json").read_text()
    assert torch.equal(answers(MPlus.from_pretrained(tmp_path / "own")), answers(model))
    assert locate_backbone("tiny").path == tmp_path / "cache" / "bases" / "tiny"
