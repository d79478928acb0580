from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.settings import make_config, write_texts

from memplus.errors import ConfigError
from memplus.mplus.model import MPlus
from memplus.training.text.batch_texts import BatchTexts
from memplus.training.text.order import DocumentOrder
from memplus.training.text.starting import starting_model
from memplus.training.text.text_cache import Documents, load_documents


@pytest.fixture
def source(tmp_path: Path) -> tuple[MPlus, Documents]:
    write_texts(tmp_path)
    config = make_config(tmp_path)
    model = starting_model(config)
    return model, load_documents(config.data, model.tokenizer)


def test_processes_take_their_own_rows_of_the_same_batch(source: tuple[MPlus, Documents]) -> None:
    model, documents = source
    whole = BatchTexts(DocumentOrder(documents, 5), range(4), 4, model)
    parts = [BatchTexts(DocumentOrder(documents, 5), share, 4, model)
             for share in (range(3), range(3, 4))]  # fmt: skip
    for length in (9, 25, 9):
        taken = whole.take(length)
        assert tuple(taken.shape) == (4, length)
        assert taken.dtype == torch.int64
        assert taken.device == whole.device
        assert taken.equal(torch.cat([one.take(length) for one in parts]))
    assert whole.seed == 5


def test_a_text_is_encoded_by_the_model_and_nothing_is_nothing(
    source: tuple[MPlus, Documents],
) -> None:
    model, documents = source
    texts = BatchTexts(DocumentOrder(documents, 0), range(1), 1, model)
    assert texts.encode("the road") == model.encode("the road")
    assert texts.encode("") == []


def test_a_stretch_longer_than_every_document_is_refused(source: tuple[MPlus, Documents]) -> None:
    model, documents = source
    texts = BatchTexts(DocumentOrder(documents, 0), range(1), 1, model)
    with pytest.raises(ConfigError, match=f"{documents.longest} tokens"):
        texts.take(documents.longest + 1)
