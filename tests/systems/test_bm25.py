import pytest
from tests.systems.conftest import SHARED

from memplus.data import word_search
from memplus.errors import LibraryMissingError
from memplus.systems.bm25 import BM25System, WordIndex
from memplus.systems.registry import make_systems

pytest.importorskip("bm25s", reason="an optional library that the dev requirements bring")


def test_passages_put_in_turn_rank_as_those_put_together() -> None:
    texts = ["A heron.", "A pond and a boat.", "Rain in a pond."]
    together, in_turn = WordIndex(), WordIndex()
    together.put(0, texts)
    in_turn.put(0, ["A he"])
    assert in_turn.scores("heron") == [0]
    in_turn.put(0, texts[:2])
    in_turn.scores("pond")
    in_turn.put(2, texts[2:])
    assert in_turn.scores("heron pond") == together.scores("heron pond")
    copy = in_turn.copy()
    copy.put(1, ["Heron."])
    assert in_turn.scores("heron") == together.scores("heron")
    assert len(copy.scores("heron")) == 2


def test_without_its_library_it_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert BM25System.missing() == ""
    monkeypatch.setattr(word_search, "find_spec", lambda name: None)
    assert "bm25s" in BM25System.missing()
    with pytest.raises(LibraryMissingError):
        make_systems(["bm25"], SHARED)
