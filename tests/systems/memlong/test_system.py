"""MemLong behind the door; tests/systems/test_contract.py has what every system promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.systems.conftest import SHARED
from tests.systems.latent.tiny_weights import tiny_weights

from memplus.data.word_search import installed
from memplus.errors import (
    ConfigError,
    LibraryMissingError,
    SessionMismatchError,
    SystemWeightsError,
)
from memplus.systems.embedder import embedder_folder
from memplus.systems.latent.session import LatentSession
from memplus.systems.memlong import system as module
from memplus.systems.memlong.options import MemLongOptions
from memplus.systems.memlong.system import MemLongSystem

SIZES = MemLongOptions(chunk=6, segment=12, local=200, bank=600, top_k=2, rank=2)
TEXTS = ("Thistle is a boat.", "Rain fell on days.", "Geese like gardens", "A gate may be red.")


def opened(**changes: Any) -> MemLongSystem:
    options = replace(SIZES, **changes)
    folder = tiny_weights(MemLongSystem, options)
    return MemLongSystem(SHARED, replace(options, weights=str(folder)))


def told(system: MemLongSystem, texts: tuple[str, ...] = TEXTS) -> LatentSession:
    session = system.open(0)
    for index, text in enumerate(texts):
        session.write(text, f"text {index}")
    return session


def test_its_weights_hold_for_their_sizes_and_another_size_is_named(tmp_path: Path) -> None:
    folder = str(tiny_weights(MemLongSystem, SIZES))
    for name, value in (
        ("rank", 4), ("memory_layer", 1), ("gate", "none"), ("alpha", 2), ("chunk", 4),
    ):  # fmt: skip
        with pytest.raises(SystemWeightsError, match=f"memlong:{name}"):
            MemLongSystem(SHARED, replace(SIZES, weights=folder, **{name: value}))
    # Published ablations, and what is chosen as one reads: docs/paper-map.md says why.
    for name, value in (
        ("top_k", 0), ("embedder", "hidden"), ("query", "own"), ("local", 100), ("bank", 24),
        ("eviction", "fifo"), ("count", False),
    ):  # fmt: skip
        MemLongSystem(SHARED, replace(SIZES, weights=folder, **{name: value}))
    with pytest.raises(SystemWeightsError, match="configs/memlong/"):
        MemLongSystem(SHARED, replace(SIZES, weights=str(tmp_path)))


def test_what_the_decoder_cannot_serve_is_said_with_the_field() -> None:
    system = MemLongSystem(SHARED, replace(SIZES, local=10_000, weights="none"))
    with pytest.raises(ConfigError, match="local"):
        system.open(0)


def test_answers_name_the_chunks_that_they_stand_on_by_their_sources() -> None:
    (reply,) = told(opened()).ask(["What is Thistle?"], max_new_tokens=3)
    assert sum(one.share for one in reply.evidence) == pytest.approx(1)
    assert {one.source for one in reply.evidence} <= {f"text {index}" for index in range(4)}
    assert all(one.end - one.start <= 6 for one in reply.evidence)


@pytest.mark.skipif(not installed(), reason="bm25s is not installed")
@pytest.mark.parametrize(("question", "source"), [("Thistle?", 0), ("gardens!", 2)])
def test_by_words_the_chunk_that_has_the_questions_words_is_read(
    question: str, source: int
) -> None:
    system = opened(embedder="bm25", top_k=1, chunk=18, segment=18)
    (reply,) = told(system).ask([question], max_new_tokens=2)
    assert [one.source for one in reply.evidence] == [f"text {source}"]


@pytest.mark.skipif(not installed(), reason="bm25s is not installed")
def test_words_are_found_again_after_loading(tmp_path: Path) -> None:
    system = opened(embedder="bm25", top_k=1, chunk=18, segment=18)
    session = told(system)
    session.save(tmp_path / "kept")
    asked = ["Thistle?", "gardens!"]
    assert system.load(tmp_path / "kept").ask(asked, max_new_tokens=2) == session.ask(
        asked, max_new_tokens=2
    )
    other = opened(top_k=1, chunk=18, segment=18)
    with pytest.raises(SessionMismatchError):
        other.load(tmp_path / "kept")


def test_a_full_bank_grows_no_more() -> None:
    session = told(opened(bank=24), TEXTS * 2)
    sizes = []
    for text in TEXTS * 2:
        session.write(text, "more")
        (bank,) = session.state.banks
        sizes.append(sum(bank.lengths))
    assert max(sizes) <= 24
    assert bank.written == 18 * 16


@pytest.mark.skipif(embedder_folder() is None, reason="wordllama is not installed")
def test_the_static_embedder_belongs_to_what_the_system_is() -> None:
    assert "wordllama" in opened().identity["embedder"]
    assert "embedder" not in opened(embedder="hidden").identity


def test_libraries_are_missed_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise LibraryMissingError("one", extra="two")

    monkeypatch.setattr(module, "embedder_name", missing)
    monkeypatch.setattr(module, "require_installed", missing)
    for name in ("static", "bm25"):
        with pytest.raises(LibraryMissingError):
            MemLongSystem(SHARED, replace(SIZES, embedder=name, weights="none"))
    assert MemLongSystem(SHARED, replace(SIZES, embedder="hidden", weights="none"))


def test_the_list_of_systems_says_that_the_static_embedder_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MemLongSystem.missing() == ""
    monkeypatch.setattr(module, "missing_embedder", lambda: "wordllama: pip install it")
    assert MemLongSystem.missing() == "wordllama: pip install it"
