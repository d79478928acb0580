from pathlib import Path

import pytest
import torch
from tests.systems.conftest import SHARED

from memplus.errors import CorruptMemoryError, LibraryMissingError
from memplus.systems import embedder
from memplus.systems.embeddings import EmbeddingsSystem, VectorIndex
from memplus.systems.registry import make_systems

pytest.importorskip("wordllama", reason="an optional library that the dev requirements bring")

TEXTS = ["The keeper was asleep.", "A boat lay in a harbour.", "Rain fell on a roof."]


def test_a_passage_is_found_by_what_it_means_without_a_word_in_common() -> None:
    session = EmbeddingsSystem(SHARED).open(0)
    for text in TEXTS:
        session.write(text, text[:5])
    (reply,) = session.ask(["Who slept?"], max_new_tokens=2)
    assert reply.evidence
    assert reply.evidence[0].text == TEXTS[0]
    (reply,) = session.ask(["Which ship anchored?"], max_new_tokens=2)
    assert reply.evidence
    assert reply.evidence[0].text == TEXTS[1]


def test_passages_put_in_turn_rank_as_those_put_together() -> None:
    together, in_turn = VectorIndex(), VectorIndex()
    together.put(0, TEXTS)
    in_turn.put(0, ["The keep"])
    in_turn.scores("Who slept?")
    in_turn.put(0, TEXTS[:2])
    in_turn.put(2, TEXTS[2:])
    assert in_turn.scores("Who slept?") == pytest.approx(together.scores("Who slept?"), abs=1e-6)
    copy = in_turn.copy()
    copy.put(1, ["Asleep."])
    assert (len(copy.scores("x")), len(in_turn.scores("x"))) == (2, 3)
    assert in_turn.nbytes == in_turn.tensors()["vectors"].nbytes == 3 * 256 * 4
    assert VectorIndex().scores("x") == []


def test_vectors_are_saved_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = EmbeddingsSystem(SHARED).open(0)
    session.write(TEXTS[0], "a")
    session.save(tmp_path / "s")
    monkeypatch.setattr(embedder.Embedder, "embed", lambda *given: 1 / 0)
    loaded = EmbeddingsSystem(SHARED).load(tmp_path / "s")
    saved, kept = (one.index.tensors()["vectors"] for one in (loaded, session))
    assert torch.equal(saved, kept)
    session.index = VectorIndex([torch.ones(9)])
    session.save(tmp_path / "s")
    with pytest.raises(CorruptMemoryError, match="vectors"):
        EmbeddingsSystem(SHARED).load(tmp_path / "s")


def test_the_embedder_is_part_of_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (system,) = make_systems(["embeddings:k=2"], SHARED)
    assert system.identity["embedder"].startswith("wordllama ")
    assert EmbeddingsSystem.missing() == ""
    monkeypatch.setattr(embedder, "find_spec", lambda name: None)
    assert "wordllama" in EmbeddingsSystem.missing()
    with pytest.raises(LibraryMissingError):
        make_systems(["embeddings"], SHARED)
