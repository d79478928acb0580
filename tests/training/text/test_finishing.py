"""A trained model with other choices of reading, and an opening: the same weights."""

from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus
from tests.training.superseding.spans import TEXT, spans_model

from memplus import MPlus
from memplus.config import SpanRetrieval
from memplus.errors import ConfigError
from memplus.training.text.finishing import Finish, finished


def test_what_is_set_is_set_and_all_else_stays() -> None:
    model = spans_model()
    before, weights = model.memory_config, model.weights
    set_to = Finish(retrieved_tokens=before.retrieved_tokens // 2, rows="int4", sharpens=True)
    made = finished(model, set_to)
    config = made.memory_config
    assert (config.retrieved_tokens, config.rows) == (before.retrieved_tokens // 2, "int4")
    assert isinstance(config.retrieval, SpanRetrieval)
    assert isinstance(before.retrieval, SpanRetrieval)
    assert config.retrieval.sharpens
    assert config.retrieval.neighbours == before.retrieval.neighbours
    assert config.short_term_tokens == before.short_term_tokens
    assert made.weights is weights
    assert finished(made, Finish()).memory_config == config


@torch.no_grad()
def test_new_memories_begin_with_the_opening() -> None:
    model = finished(spans_model(), Finish(opening=f"  {TEXT[:20]}\n"))
    expected = model.core.write_rows(
        torch.tensor([model.encode(TEXT[:20].strip())]), model.core.context([None])
    )[0]
    rows = model.pristine.short_term
    assert rows is not None
    assert rows.shape == expected.shape
    assert torch.equal(rows, expected)


def test_an_opening_is_one_writes_text_at_most() -> None:
    model = spans_model()
    long = "a" * (model.memory_config.chunk_tokens + 1)
    for text in ("", " \n", long):
        with pytest.raises(ConfigError, match="one write takes in"):
            finished(model, Finish(opening=text))


def test_what_the_model_has_not_cannot_be_set(tmp_path: Path) -> None:
    finished(spans_model(), Finish(retrieved_tokens=0)).save_pretrained(tmp_path / "bare")
    bare = MPlus.from_pretrained(tmp_path / "bare")
    with pytest.raises(ConfigError, match="has no retriever"):
        finished(bare, Finish(retrieved_tokens=8))
    with pytest.raises(ConfigError, match="retrieves rows"):
        finished(make_mplus(), Finish(neighbours=True))
    with pytest.raises(ConfigError, match="rows"):
        finished(spans_model(), Finish(rows="int3"))
