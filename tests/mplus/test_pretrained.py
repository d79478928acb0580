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

from memplus import MPlus
from memplus.errors import UnsupportedModelError, UsageError


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
