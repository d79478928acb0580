from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tests.fakes import make_tokenizer, some_ids
from tests.systems.memlong.slow import OPTIONS, tiny

from memplus.backbone.layer_states import layer_states
from memplus.data.word_search import installed
from memplus.systems.embedder import WIDTH, embedder_folder
from memplus.systems.memlong.embedders import (
    Embedder,
    HiddenMeans,
    TextVectors,
    Words,
    embedder_for,
)
from memplus.systems.memlong.lookup import best_chunks

TOKENIZER = make_tokenizer()
TEXTS = ("the red gate is ", "a boat in the ha", "rain fell all da", "seven grey geese")


def decode(ids: Sequence[int]) -> str:
    return str(TOKENIZER.decode(list(ids)))


def ids_of(text: str) -> torch.Tensor:
    return torch.tensor([TOKENIZER(text)["input_ids"]])


@torch.no_grad()
def found_by(embedder: Embedder | None, question: str) -> int:
    mechanism = tiny(options=replace(OPTIONS, chunk=16, segment=16, top_k=1), embedder=embedder)
    state = mechanism.empty(1)
    for text in TEXTS:
        state = mechanism.write(state, ids_of(text))
    ids = ids_of(question)
    reading = mechanism._reading(state, ids, [(0, ids.shape[1])], None)
    mechanism._pass(reading, ids, *mechanism._layout(state, ids, None))
    assert reading.found is not None
    return reading.found.chunks[0][0]


@pytest.mark.parametrize("place", range(4))
def test_hidden_means_find_the_same_text(place: int) -> None:
    assert found_by(None, TEXTS[place]) == place


@pytest.mark.skipif(not installed(), reason="bm25s is not installed")
@pytest.mark.parametrize(("question", "place"), [("which gate?", 0), ("rain", 2), ("geese!", 3)])
def test_words_find_the_text_that_has_them(question: str, place: int) -> None:
    assert found_by(embedder_for("bm25", 32, decode), question) == place


@pytest.mark.skipif(embedder_folder() is None, reason="wordllama is not installed")
@pytest.mark.parametrize(("question", "place"), [("a red door", 0), ("a ship", 1)])
def test_vectors_of_words_find_the_text_that_means_it(question: str, place: int) -> None:
    static = embedder_for("static", 32, decode)
    assert static.width == WIDTH
    assert found_by(static, question) == place


@torch.no_grad()
def test_the_first_token_of_a_pass_is_not_counted() -> None:
    mechanism, ids = tiny(), some_ids(1, 8)
    hidden = layer_states(mechanism.backbone, ids, (1,)).at[1][0]
    means = HiddenMeans(32)
    vectors = means.chunks(hidden, ids[0], [4, 4])
    assert torch.allclose(vectors[0], hidden[1:4].mean(dim=0))
    assert torch.allclose(vectors[1], hidden[4:].mean(dim=0))
    assert means.query(hidden[4:], ids[0, 4:], opening=False).equal(vectors[1])
    assert means.query(hidden[:1], ids[0, :1], opening=True).equal(hidden[0])


@torch.no_grad()
def test_all_chunks_are_ranked_and_none_is_none() -> None:
    mechanism = tiny()
    (empty,) = mechanism.empty(1).banks
    assert best_chunks(empty, mechanism.embedder, empty.before, 2) == []
    (bank,) = mechanism.write(mechanism.empty(1), some_ids(1, 8)).banks
    query = bank.chunks["embeddings"][1]
    assert best_chunks(bank, mechanism.embedder, query, 9) == [1, 0]
    assert best_chunks(bank, mechanism.embedder, query, 0) == []


def test_of_equal_chunks_the_older_is_the_better() -> None:
    flat = TextVectors(lambda texts: torch.ones(len(texts), 3), 3)
    mechanism = tiny(embedder=flat)
    (bank,) = mechanism.write(mechanism.empty(1), some_ids(1, 8)).banks
    assert best_chunks(bank, flat, torch.ones(3), 2) == [0, 1]


@pytest.mark.skipif(not installed(), reason="bm25s is not installed")
@torch.no_grad()
def test_words_are_looked_for_anew_after_a_write() -> None:
    words = Words(decode)
    mechanism = tiny(options=replace(OPTIONS, chunk=16, segment=16), embedder=words)
    state = mechanism.empty(1)
    for text in (TEXTS[0], TEXTS[1]):
        state = mechanism.write(state, ids_of(text))
        scores = words.scores(state.banks[0], ids_of("boat")[0])
    assert scores.tolist()[0] == 0
    assert scores.tolist()[1] > 0
