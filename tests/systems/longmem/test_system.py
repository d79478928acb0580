"""LongMem as a system: its weights, its sessions, and what shutting its gate takes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.systems.conftest import SHARED
from tests.systems.latent.tiny_weights import tiny_weights
from tests.systems.longmem.tiny_weights import SIZES, options

from memplus.errors import ConfigError, SessionMismatchError, SystemWeightsError
from memplus.systems.longmem.mechanism import LongMem
from memplus.systems.longmem.options import LongMemOptions
from memplus.systems.longmem.system import LongMemSystem
from memplus.systems.protocol import Session
from memplus.systems.registry import make_systems

STORY = "The gate is red, and nobody came. It rained for days on end; the keeper slept. "
QUESTIONS = ["What is red?", "Who slept?"]


def system(**changes: Any) -> LongMemSystem:
    given = options() | {name: str(value) for name, value in changes.items()}
    spec = ":".join(["longmem", *(f"{name}={value}" for name, value in given.items())])
    (made,) = make_systems([spec], SHARED)
    assert isinstance(made, LongMemSystem)
    return made


def told(made: LongMemSystem, text: str = STORY) -> Session:
    session = made.open(0)
    session.write(text, "story")
    return session


def test_weights_are_missed_before_anything_runs() -> None:
    with pytest.raises(SystemWeightsError, match=r"record\.json.*configs/longmem/"):
        LongMemSystem(SHARED)
    assert "memplus train" in LongMemSystem.missing()


def test_weights_of_other_sizes_name_the_option() -> None:
    with pytest.raises(SystemWeightsError, match=r"longmem:retrieved_tokens.*retrieved_tokens=8"):
        system(retrieved_tokens=4)
    with pytest.raises(ConfigError, match="segment_tokens"):
        system(segment_tokens=5)
    assert system(bank_tokens=20, gate="closed").mechanism


def without_r(**changes: Any) -> LongMemSystem:
    """Of a decoder of four layers, where r is 2 if nobody chose it."""
    return system(reduction=0, **changes)


def test_untrained_it_opens_on_a_decoder_that_3_does_not_divide() -> None:
    made = LongMemSystem(SHARED, LongMemOptions(weights="none", segment_tokens=12))
    (reply,) = told(made).ask(["What is red?"], max_new_tokens=2)
    assert reply.generated
    assert len(made.mechanism.side.decoder.layers) == 2
    assert "reduction" not in made.name


def test_what_it_is_does_not_depend_on_whether_r_was_chosen(tmp_path: Path) -> None:
    chosen, left = system(), without_r()
    assert left.identity == chosen.identity
    assert left.identity["options"]["reduction"] == 2
    for one, other in ((chosen, left), (left, chosen)):
        session: Any = told(one)
        session.save(tmp_path / "session")
        asked: dict[str, Any] = {"questions": QUESTIONS, "max_new_tokens": 3}
        assert other.load(tmp_path / "session").ask(**asked) == session.ask(**asked)


def test_weights_of_another_r_than_the_decoders_name_it_when_they_are_needed() -> None:
    sizes = LongMemOptions(**SIZES | {"reduction": 1})  # type: ignore[arg-type]
    folder = tiny_weights(LongMemSystem, sizes)
    with pytest.raises(SystemWeightsError, match=r"longmem:reduction.*reduction=1"):
        system(weights=folder)
    left = without_r(weights=folder)
    with pytest.raises(SystemWeightsError, match=r"longmem:reduction.*reduction=1"):
        left.open(0)


def test_the_bank_grows_by_whole_segments_and_flush_leaves_less_than_a_chunk() -> None:
    made = system()
    session: Any = made.open(0)
    session.write("abcdefghijklm", "letters")
    assert (len(session.state), len(session.tail)) == (6, 1)
    session.write("nopqrs")
    session.flush()
    assert (len(session.state), len(session.tail)) == (9, 1)
    session.flush()
    assert session.tokens == 19


def test_a_full_bank_keeps_its_newest_chunks() -> None:
    made = system(bank_tokens=20)
    session: Any = told(made)
    assert session.state.starts.tolist() == list(range(72 - 20, 72, 2))
    assert session.nbytes < told(system()).nbytes


def test_evidence_names_the_text_and_where_in_it() -> None:
    session = told(system())
    for reply in session.ask(QUESTIONS, max_new_tokens=4):
        assert sum(one.share for one in reply.evidence) == pytest.approx(1)
        assert {one.source for one in reply.evidence} == {"story"}
        assert all(0 <= one.start < one.end <= 72 for one in reply.evidence)


def test_with_a_closed_gate_only_the_tail_is_read() -> None:
    closed, open_ = system(gate="closed"), system()
    head, tail = STORY * 2, "the last words"
    whole, short = told(closed, head + tail), closed.open(0)
    cut = len(head + tail) % 12
    short.write((head + tail)[-cut:], "story")
    options_ = [["red", "blue"]]
    assert whole.score(["What is"], options_) == short.score(["What is"], options_)
    remembered = told(open_, head + tail)
    assert remembered.score(["What is"], options_) != whole.score(["What is"], options_)
    assert not whole.ask(QUESTIONS, max_new_tokens=2)[0].evidence


def test_a_session_of_other_sizes_is_refused(tmp_path: Path) -> None:
    told(system()).save(tmp_path / "session")
    with pytest.raises(SessionMismatchError, match="bank_tokens"):
        system(bank_tokens=20).load(tmp_path / "session")


def test_how_the_side_network_started_counts_until_it_is_trained(tmp_path: Path) -> None:
    session = told(system())
    session.save(tmp_path / "session")  # type: ignore[attr-defined]
    loaded = system(init="plain").load(tmp_path / "session")
    asked: dict[str, Any] = {"questions": QUESTIONS, "max_new_tokens": 3}
    assert loaded.ask(**asked) == session.ask(**asked)
    told(system(weights="none")).save(tmp_path / "untrained")  # type: ignore[attr-defined]
    with pytest.raises(SessionMismatchError, match="init=memory"):
        system(weights="none", init="plain").load(tmp_path / "untrained")


def test_its_mechanism_has_the_trained_weights() -> None:
    mechanism = system().mechanism
    assert isinstance(mechanism, LongMem)
    assert not any(one.requires_grad for one in mechanism.parameters())
    assert any(abs(one - 0.5) > 0.01 for one in mechanism.shares_of_gate)
