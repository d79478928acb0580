from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fakes import make_tokenizer

from memplus.errors import ConfigError
from memplus.training.config import DataConfig
from memplus.training.order import DocumentOrder
from memplus.training.texts import Documents, load_documents


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    """Ten documents of ten tokens; the numbers of a document's bytes follow one another."""
    texts = ["".join(chr(65 + (i + j) % 58) for j in range(10)) for i in range(0, 50, 5)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    config = DataConfig((str(tmp_path / "a.jsonl"),), cache=tmp_path / "cache", min_tokens=2)
    return load_documents(config, make_tokenizer())


def test_an_epoch_takes_every_stretch_once_and_no_border_is_crossed(documents: Documents) -> None:
    order = DocumentOrder(documents, seed=0)
    taken = [tuple(order.take(5).tolist()) for _ in range(20)]
    assert order.epoch == 0
    expected = {tuple(documents.read(i, start, 5).tolist()) for i in range(10) for start in (0, 5)}
    assert set(taken) == expected
    order.take(5)
    assert order.epoch == 1


def test_a_document_goes_on_where_it_was_left(documents: Documents) -> None:
    order = DocumentOrder(documents, seed=0)
    first = [order.take(3) for _ in range(10)]
    second = [order.take(3) for _ in range(10)]
    for one, two in zip(first, second, strict=True):
        assert any(
            documents.read(i, 0, 6).tolist() == [*one.tolist(), *two.tolist()] for i in range(10)
        )


def test_the_seed_decides_and_a_state_goes_on(documents: Documents) -> None:
    lengths = [3, 7, 2, 9, 4, 1, 5, 5, 8, 2, 6, 3, 9, 9]
    one, two, other = (DocumentOrder(documents, seed) for seed in (4, 4, 5))
    taken = [one.take(length).tolist() for length in lengths]
    assert taken != [other.take(length).tolist() for length in lengths]
    assert taken[:8] == [two.take(length).tolist() for length in lengths[:8]]
    third = DocumentOrder(documents, 4)
    third.restore(json.loads(json.dumps(two.state())))
    assert taken[8:] == [third.take(length).tolist() for length in lengths[8:]]


def test_what_no_document_has_is_refused(documents: Documents) -> None:
    order = DocumentOrder(documents, seed=0)
    with pytest.raises(ConfigError, match="10 tokens"):
        order.take(11)
    with pytest.raises(ConfigError, match="3 documents"):
        order.restore({"position": [0, 0, 3], "taken": {}})
