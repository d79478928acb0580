"""LaMemo as a system: what its weights hold for, what it keeps, what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.systems.conftest import SHARED
from tests.systems.lamemo.slow import Slow
from tests.systems.lamemo.tiny_weights import OPTIONS, tiny_folder
from tests.systems.latent.toy import tiny_weights

from memplus.errors import SessionMismatchError, SystemWeightsError
from memplus.systems.lamemo.options import LaMemoOptions
from memplus.systems.lamemo.system import LaMemoSystem
from memplus.systems.latent.weights import read_record

TEXT = "The gate is red, and nobody came. It rained for days on end; the keeper slept. "
Made = Callable[..., LaMemoSystem]


@pytest.fixture
def made() -> Made:
    options = LaMemoOptions(weights=str(tiny_folder()), **OPTIONS)
    return partial(_made, options)


def _made(options: LaMemoOptions, **changes: object) -> LaMemoSystem:
    return LaMemoSystem(SHARED, replace(options, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("segment", 16), ("lookahead", "off"), ("rank", 4), ("alpha", 8)],
)
def test_weights_trained_otherwise_name_the_option(made: Made, name: str, value: object) -> None:
    with pytest.raises(SystemWeightsError, match=f"lamemo:{name}"):
        made(**{name: value})


def test_weights_that_are_missing_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(SystemWeightsError, match=r"configs/lamemo/stage1\.yaml"):
        LaMemoSystem(SHARED, LaMemoOptions(weights=str(tmp_path)))


def test_how_alpha_is_computed_may_be_chosen_afterwards(made: Made) -> None:
    assert made(published=True).mechanism
    assert made(offset=-1.0).name != made().name


@pytest.mark.parametrize("memory", [16, 48])
@torch.no_grad()
def test_another_length_of_memory_than_it_was_trained_with_may_be_chosen(
    made: Made, memory: int
) -> None:
    """What is remembered is what the mechanism of that length remembers, computed slowly."""
    assert read_record(tiny_folder()).sizes["memory"] == OPTIONS["memory"]
    system = made(memory=memory)
    session = system.open(0)
    session.write(TEXT)
    *_, (_, kept) = Slow(system.mechanism).texts(torch.tensor(SHARED.encode([TEXT]))[:64])
    assert session.state.count == len(kept.embeddings) == memory
    for layer, context in enumerate(session.state.context):
        assert (context[0] - torch.stack(kept.context[layer])).abs().max() < 1e-4
    usual = made().open(0)
    usual.write(TEXT)
    asked = ["What is"], [[" red", " blue"]]
    assert session.score(*asked) != usual.score(*asked)


def test_a_saved_session_of_another_length_of_memory_is_refused(made: Made, tmp_path: Path) -> None:
    session = made(memory=24).open(0)
    session.write(TEXT)
    session.save(tmp_path / "session")
    with pytest.raises(SessionMismatchError, match="memory=24"):
        made().load(tmp_path / "session")
    again = made(memory=24).load(tmp_path / "session")
    assert again.state.count == 24
    assert again.tokens == session.tokens


def test_how_training_began_is_nothing_to_a_session(made: Made, tmp_path: Path) -> None:
    session = made().open(0)
    session.write(TEXT)
    session.save(tmp_path / "session")
    other = made(offset=-1.0, offset_steps=7)
    asked = {"questions": ["What is red?"], "max_new_tokens": 3}
    assert other.load(tmp_path / "session").ask(**asked) == session.ask(**asked)  # type: ignore[arg-type]
    with pytest.raises(SessionMismatchError, match="published=False"):
        made(published=True).load(tmp_path / "session")


def test_a_session_that_still_names_how_training_began_opens(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = made(offset=-1.0).open(0)
    session.write(TEXT)
    with monkeypatch.context() as earlier:
        earlier.setattr(LaMemoSystem, "not_of_sessions", ("weights",))
        session.save(tmp_path / "session")
        with pytest.raises(SessionMismatchError, match=r"offset=-1\.0"):
            made().load(tmp_path / "session")
    assert made().load(tmp_path / "session").tokens == session.tokens


def test_the_state_stops_growing_once_the_window_is_full(made: Made) -> None:
    session = made().open(0)
    sizes = []
    for _ in range(4):
        session.write(TEXT)
        sizes.append(session.state.nbytes)
    assert len(set(sizes)) == 1
    backbone = SHARED.mplus.core.backbone
    layers, heads = len(backbone.layers), backbone.config.num_attention_heads
    numbers = backbone.hidden_size + layers * heads * (backbone.head_dim + 1)
    assert sizes[0] == 4 * OPTIONS["memory"] * numbers + 16


def test_evidence_lies_in_the_window_and_names_its_source() -> None:
    sizes = {**OPTIONS, "segment": 100, "memory": 90}
    folder = tiny_weights(LaMemoSystem, LaMemoOptions(**sizes))
    session = LaMemoSystem(SHARED, LaMemoOptions(weights=str(folder), **sizes)).open(0)
    session.write((TEXT * 2)[:105], "first")
    session.write((TEXT * 2)[:105], "second")
    (reply,) = session.ask(["Red?"], max_new_tokens=4)
    shares = [one.share for one in reply.evidence]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert {one.source for one in reply.evidence} == {"second"}
    # Of 200 tokens in the window's segments the newest 90 are remembered; sources count their own.
    assert min(one.start for one in reply.evidence) == 200 - 90 - 105
    assert max(one.end for one in reply.evidence) == 200 - 105


def test_what_was_told_reaches_no_further_than_layers_times_window(made: Made) -> None:
    """Nothing is retrieved: what left the window is known by what those in it took over."""
    system, horizon = made(), len(SHARED.mplus.core.backbone.layers) * OPTIONS["memory"]
    for behind, same in (("", False), (TEXT * (2 + horizon // len(TEXT)), True)):
        states = []
        for opening in ("A boat lay in the harbour.", "Nobody knew the captain's "):
            session = system.open(0)
            session.write(opening + TEXT + behind)
            session.flush()
            states.append(session.state)
        assert torch.equal(states[0].embeddings, states[1].embeddings)
        assert torch.equal(states[0].context, states[1].context) == same
