from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.fakes import make_tokenizer
from torch import Tensor

from memplus.errors import ConfigError
from memplus.training.text.order import DocumentOrder
from memplus.training.text.run_config import DataConfig
from memplus.training.text.text_cache import Documents, load_documents


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    """Nine documents of ten tokens, no token twice."""
    texts = ["".join(chr(33 + i + j) for j in range(10)) for i in range(0, 90, 10)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    config = DataConfig((str(tmp_path / "a.jsonl"),), cache=tmp_path / "cache", min_tokens=2)
    return load_documents(config, make_tokenizer())


def place_of(documents: Documents, ids: Tensor) -> tuple[int, int]:
    """Document and first token; every document begins with a letter of its own."""
    for index, (_, length) in enumerate(documents.spans):
        for start in range(length - len(ids) + 1):
            if documents.read(index, start, len(ids)).equal(ids):
                return index, start
    raise AssertionError("it crosses a border")


@pytest.mark.parametrize("length", [1, 3, 5, 10])
def test_an_epoch_takes_nothing_twice_and_no_border_is_crossed(
    documents: Documents, length: int
) -> None:
    order = DocumentOrder(documents, seed=0)
    taken: set[tuple[int, int]] = set()
    stretches = 0
    while True:
        ids = order.take(length)
        if order.epoch:
            break
        index, start = place_of(documents, ids)
        tokens = {(index, start + i) for i in range(length)}
        assert tokens.isdisjoint(taken)
        taken |= tokens
        stretches += 1
    # Of each document at most two ends are too short for another stretch.
    assert len(taken) >= 90 - 9 * 2 * (length - 1)
    assert stretches >= 9
    if length == 1:
        assert len(taken) == 90


def test_documents_begin_anywhere_and_elsewhere_in_another_epoch(documents: Documents) -> None:
    order = DocumentOrder(documents, seed=0)
    first = [place_of(documents, order.take(2)) for _ in range(9)]
    assert {index for index, _ in first} == set(range(9))
    assert len({start for _, start in first}) > 4
    while not order.epoch:
        order.take(2)
    starts = {index: begun for index, (begun, _) in order._begun.items()}
    while order.epoch == 1:
        for index, (begun, _) in order._begun.items():
            starts[index] = begun
        order.take(2)
    assert starts != dict(first)


def test_a_document_goes_on_where_it_was_left(documents: Documents) -> None:
    order = DocumentOrder(documents, seed=0)
    first = dict(place_of(documents, order.take(3)) for _ in range(9))
    second = dict(place_of(documents, order.take(3)) for _ in range(9))
    for index, start in first.items():
        after = start + 3 if start + 6 <= 10 else 0
        assert second.get(index, after) == after


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
        order.restore({"position": [0, 0, 3], "begun": {}})


def test_a_share_of_a_batch_is_what_all_processes_took(documents: Documents) -> None:
    whole, own, single = (DocumentOrder(documents, 4) for _ in range(3))
    for length in (3, 5, 2):
        taken = whole.batch(length, 3, range(3))
        assert taken.equal(torch.stack([single.take(length) for _ in range(3)]))
        assert own.batch(length, 3, range(1, 3)).equal(taken[1:])
