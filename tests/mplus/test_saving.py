"""Directories that models are saved to: whole, or as they were."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.mplus.bundle_folders import over, write_base

from memplus import MPlus
from memplus.errors import ModelError, NotFoundError, StorageError


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond ``limit`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def logits(model: MPlus) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(some_ids(5)).logits
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_mplus(seed=1).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("limit", [200, 1500, 50_000])
def test_a_full_disk_leaves_the_older_model(folder: Path, limit: int) -> None:
    before = files(folder)
    with full_disk(limit), pytest.raises(StorageError, match="model could not be stored") as caught:
        make_mplus(seed=2).save_pretrained(folder)
    assert "Free some space" in caught.value.hint
    assert files(folder) == before


def test_a_full_disk_leaves_no_new_folder(tmp_path: Path) -> None:
    with full_disk(1000), pytest.raises(StorageError):
        make_mplus().save_pretrained(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="it is a file, not a folder"):
        make_mplus().save_pretrained(tmp_path / "file")
    with pytest.raises(NotFoundError, match="no folder"):
        make_mplus().save_pretrained(tmp_path / "file" / "model")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_is_saved_over_the_directory_it_came_from(folder: Path) -> None:
    model = MPlus.from_pretrained(folder)
    with torch.no_grad():
        model.backbone.embedding.weight.mul_(0.5)
    expected = logits(model)
    model.save_pretrained(folder)
    assert torch.equal(logits(MPlus.from_pretrained(folder)), expected)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_what_a_killed_save_left_is_removed_by_one_that_ends_well(folder: Path) -> None:
    old, new = folder / ".saving-12345678", folder / ".saving-87654321"
    for left in (old, new):
        (left / "old").mkdir(parents=True)
    os.utime(old, (0, 0))  # the other one may be a save that is under way
    with full_disk(1000), pytest.raises(StorageError):
        make_mplus().save_pretrained(folder)
    assert old.is_dir()
    make_mplus().save_pretrained(folder)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [new.name]


def test_shards_of_the_older_model_are_not_read_with_the_newer_one(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()
    assert torch.equal(logits(MPlus.from_pretrained(folder)), logits(make_mplus(seed=1)))

    newer = make_mplus(seed=2)
    newer.save_pretrained(folder)
    assert torch.equal(logits(MPlus.from_pretrained(folder)), logits(newer))


@pytest.mark.parametrize("base", [None, "reference"])
def test_who_may_read_a_new_file_may_read_a_saved_model(tmp_path: Path, base: str | None) -> None:
    over(write_base(tmp_path / "base")).save_pretrained(tmp_path / "model", base=base)
    (tmp_path / "new").write_text("")
    rights = {file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert rights == {(tmp_path / "new").stat().st_mode}


def test_chat_templates_of_the_older_model_do_not_join_those_of_the_newer_one(folder: Path) -> None:
    older, newer = make_mplus(seed=1), make_mplus(seed=2)
    older.tokenizer.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    newer.tokenizer.chat_template = "{{ messages }}"
    older.save_pretrained(folder)
    newer.save_pretrained(folder)
    assert MPlus.from_pretrained(folder).tokenizer.chat_template == "{{ messages }}"


def test_files_that_are_no_models_stay(folder: Path) -> None:
    (folder / "README.md").write_text("about it")
    (folder / "step-100").mkdir()
    (folder / "step-100" / "state").write_text("1")
    make_mplus(seed=2).save_pretrained(folder)
    assert (folder / "README.md").read_text() == "about it"
    assert (folder / "step-100" / "state").read_text() == "1"


def test_a_refusal_at_any_move_takes_all_moves_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(folder)
    real, calls = Path.replace, 0
    for refused in range(1, 40):
        calls = 0

        def replace(self: Path, target: Path, refused: int = refused) -> Path:
            nonlocal calls
            calls += 1
            if calls == refused:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        try:
            make_mplus(seed=2).save_pretrained(folder)
        except StorageError:
            assert files(folder) == before
        else:
            break
    assert refused > 8
    monkeypatch.undo()
    assert torch.equal(logits(MPlus.from_pretrained(folder)), logits(make_mplus(seed=2)))


def killed_at(move: int, save: Callable[[], None]) -> bool:
    """Save in a process that dies before that move; whether it came so far."""
    child = os.fork()
    if child == 0:
        real, calls = Path.replace, 0

        def replace(self: Path, target: Path) -> Path:
            nonlocal calls
            calls += 1
            if calls == move:
                os._exit(9)
            return real(self, target)

        Path.replace = replace  # type: ignore[assignment]
        try:
            save()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_save_never_leaves_a_mixture(tmp_path: Path) -> None:
    old, new = logits(make_mplus(seed=1)), logits(make_mplus(seed=2))
    seen = set()
    for move in range(1, 40):
        folder = tmp_path / str(move)
        make_mplus(seed=1).save_pretrained(folder)
        died = killed_at(move, partial(make_mplus(seed=2).save_pretrained, folder))
        try:
            found = logits(MPlus.from_pretrained(folder))
        except ModelError:
            seen.add("refused")
        else:
            assert torch.equal(found, old) or torch.equal(found, new)
            seen.add("old" if torch.equal(found, old) else "new")
        if not died:
            break
    assert seen == {"old", "refused", "new"}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("before", "after"), [(None, "reference"), ("reference", None), ("reference", "reference")]
)
def test_a_killed_save_never_leaves_a_mixture_of_a_bundle_and_another_model(
    tmp_path: Path, before: str | None, after: str | None
) -> None:
    base = write_base(tmp_path / "base")
    first, second = over(base, seed=1), over(base, seed=2)
    old, new = logits(first), logits(second)
    seen = set()
    for move in range(1, 40):
        folder = tmp_path / str(move)
        first.save_pretrained(folder, base=before)
        died = killed_at(move, partial(second.save_pretrained, folder, base=after))
        try:
            found = logits(MPlus.from_pretrained(folder))
        except ModelError:
            seen.add("refused")
        else:
            assert torch.equal(found, old) or torch.equal(found, new)
            seen.add("old" if torch.equal(found, old) else "new")
        if not died:
            break
    assert seen == {"old", "refused", "new"}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_save_of_a_first_bundle_leaves_nothing_that_loads(tmp_path: Path) -> None:
    model = over(write_base(tmp_path / "base"))
    for move in range(1, 4):
        assert killed_at(
            move, partial(model.save_pretrained, tmp_path / str(move), base="reference")
        )
        with pytest.raises(ModelError):
            MPlus.from_pretrained(tmp_path / str(move))


@pytest.mark.parametrize("limit", [200, 1500, 10_000])
def test_a_full_disk_leaves_the_older_model_or_no_folder_in_the_place_of_a_bundle(
    folder: Path, tmp_path: Path, limit: int
) -> None:
    model, before = over(write_base(tmp_path / "base")), files(folder)
    for place in (folder, tmp_path / "new"):
        with full_disk(limit), pytest.raises(StorageError):
            model.save_pretrained(place, base="reference")
    assert files(folder) == before
    assert not (tmp_path / "new").exists()


def test_rules_that_the_library_calls_invalid_are_saved_as_they_are(tmp_path: Path) -> None:
    model = make_mplus()
    rules = model.model.generation_config
    assert rules is not None
    rules.do_sample, rules.temperature = False, 0.3
    model.save_pretrained(tmp_path)
    loaded = MPlus.from_pretrained(tmp_path).model.generation_config
    assert loaded is not None
    assert loaded.temperature == 0.3


def test_a_reference_to_code_is_not_saved(tmp_path: Path) -> None:
    model = make_mplus()
    expected = logits(model)
    model.model.config.auto_map = {"AutoConfig": "own.C"}
    model.save_pretrained(tmp_path)
    assert "auto_map" not in (tmp_path / "config.json").read_text()
    assert torch.equal(logits(MPlus.from_pretrained(tmp_path)), expected)


def test_weights_are_kept_in_the_dtype_asked_for(tmp_path: Path) -> None:
    make_mplus().save_pretrained(tmp_path, storage_dtype=torch.bfloat16)
    held = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in held.values()} == {torch.bfloat16}
    loaded = MPlus.from_pretrained(tmp_path)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    assert loaded.memory_config == CONFIG
