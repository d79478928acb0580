from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_mplus, make_tokenizer, some_ids
from tests.training.settings import MEMORY, make_config, write_texts

from memplus.config import SpanRetrieval
from memplus.errors import ConfigError
from memplus.training.text.runs import TextRun
from memplus.training.text.starting import starting_model, with_memory


def test_another_memory_keeps_the_weights_that_fit() -> None:
    model = make_mplus(config=replace(CONFIG, retrieved_tokens=0))
    wider = with_memory(model, CONFIG)
    assert wider.weights.memory_embedding.equal(model.weights.memory_embedding)
    assert wider.weights.retriever is not None
    ids = some_ids(1, 6)
    assert wider(ids).logits.equal(model(ids).logits)
    again = with_memory(wider, replace(CONFIG, short_term_tokens=12))
    for one, two in zip(again.weights.parameters(), wider.weights.parameters(), strict=True):
        assert one.equal(two)


def test_rows_are_kept_as_far_as_they_fit() -> None:
    model = make_mplus()
    rows = torch.randn(4, 24, 32, generator=torch.Generator().manual_seed(0))
    model.pristine.short_term = rows
    smaller = with_memory(model, replace(CONFIG, short_term_tokens=12))
    assert smaller.pristine.short_term is not None
    assert smaller.pristine.short_term.equal(rows[:, -12:])
    assert smaller.new_memory().short_term_rows == 12


def test_other_adapters_and_another_bos_are_refused() -> None:
    model = make_mplus()
    with pytest.raises(ConfigError, match=r"memory\.adapters"):
        with_memory(model, replace(CONFIG, adapters=ADAPTERS))
    with pytest.raises(ConfigError, match=r"memory\.bos"):
        with_memory(model, replace(CONFIG, bos=False))


def test_a_decoder_gets_a_memory_and_the_seed_decides_its_weights(tmp_path: Path) -> None:
    write_texts(tmp_path)
    config = make_config(tmp_path)
    one, two = starting_model(config), starting_model(config)
    assert one.weights.memory_embedding.equal(two.weights.memory_embedding)
    other = starting_model(make_config(tmp_path, run={"seed": 1}))
    assert not one.weights.memory_embedding.equal(other.weights.memory_embedding)
    assert one.memory_config.short_term_tokens == MEMORY["short_term_tokens"]


def test_a_model_made_from_nothing_keeps_its_tokenizer_in_the_run(tmp_path: Path) -> None:
    write_texts(tmp_path)
    fresh = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 48, "vocabulary": 1000}
    config = make_config(tmp_path, model={"fresh": fresh, "trainable": "all"})
    with pytest.raises(ConfigError, match="no tokenizer"):
        starting_model(config)
    one = starting_model(config, ["the road went down to the sea. " * 50])
    again = starting_model(config)
    text = "the road went down"
    assert one.encode(text) == again.encode(text)
    assert len(one.encode(text)) < len(make_tokenizer()(text)["input_ids"])
    for first, second in zip(one.parameters(), again.parameters(), strict=True):
        assert first.equal(second)


def test_a_target_without_positions_is_refused(tmp_path: Path) -> None:
    write_texts(tmp_path)
    tasks = [{"task": "language", "target_tokens": 250}]
    with pytest.raises(ConfigError, match="positions for 231"):
        TextRun(make_config(tmp_path, tasks=tasks, data={"min_tokens": 2}))


def test_another_rule_of_retrieval_gets_a_retriever_of_its_own() -> None:
    model = make_mplus()
    layer = SpanRetrieval(span_rows=2, layer=2)
    config = replace(CONFIG, drop="shared", retrieval=layer)
    spans = with_memory(model, config)
    assert spans.weights.retriever is not None
    assert model.weights.retriever is not None
    assert len(spans.weights.retriever) == 1
    mine = next(spans.weights.retriever.parameters())
    assert not any(torch.equal(mine, one) for one in model.weights.retriever.parameters())
    again = with_memory(spans, replace(config, short_term_tokens=12))
    assert again.weights.retriever is not None
    assert torch.equal(next(again.weights.retriever.parameters()), mine)
