"""HMT as a system, beside what tests/systems/test_contract.py asks of every one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.systems.conftest import SHARED
from tests.systems.hmt.tiny import TINY
from tests.systems.latent.tiny_weights import tiny_weights

from memplus.errors import MemplusError, SystemWeightsError
from memplus.fields import with_options
from memplus.systems.hmt.options import HMTOptions
from memplus.systems.hmt.system import HMTSystem
from memplus.systems.latent.session import LatentSession

TEXT = "The gate is red, and nobody came. It rained for days on end; the keeper slept. "
FOLDER = str(tiny_weights(HMTSystem, TINY))


def opened(**options: object) -> HMTSystem:
    return HMTSystem(SHARED, replace(TINY, weights=FOLDER, **options))  # type: ignore[arg-type]


def written(system: HMTSystem, text: str, source: str = "text") -> LatentSession:
    session = system.open(0)
    session.write(text, source)
    return session


def test_its_state_stops_growing_once_the_cache_is_full() -> None:
    sizes = [written(opened(), TEXT * times).state.nbytes for times in (1, 2, 6)]
    assert sizes[0] == sizes[1] == sizes[2]
    one = TEXT[: TINY.segment_tokens]
    assert written(opened(), one).state.nbytes < sizes[0]


def test_what_fills_no_segment_is_told_all_the_same() -> None:
    session = written(opened(), TEXT)
    whole = len(TEXT) - len(TEXT) % TINY.segment_tokens
    assert session.state.tokens == whole
    assert len(session.tail) == len(TEXT) - whole
    session.flush()
    assert session.state.tokens == len(TEXT)


def test_evidence_is_of_the_segments_that_are_kept() -> None:
    session = written(opened(), TEXT, "one")
    session.write(TEXT, "two")
    (reply,) = session.ask(["What is red?"], max_new_tokens=3)
    kept = TINY.cache * TINY.segment_tokens
    found = {(one.source, place) for one in reply.evidence for place in range(one.start, one.end)}
    assert 0 < len(found) <= kept
    assert {source for source, _ in found} == {"two"}
    assert sum(one.share for one in reply.evidence) <= 1.0 + 1e-5
    assert (
        written(opened(retrieval="off"), TEXT).ask(["Who?"], max_new_tokens=2)[0].evidence is None
    )


def test_a_long_answer_goes_on_behind_a_copy_of_the_state() -> None:
    session = written(opened(), TEXT)
    before = {name: one.clone() for name, one in session.state.tensors.items()}
    (reply,) = session.ask(["What is red?"], max_new_tokens=2 * TINY.segment_tokens)
    (short,) = session.ask(["What is red?"], max_new_tokens=2)
    assert reply.generated.startswith(short.generated)
    assert all(one.equal(before[name]) for name, one in session.state.tensors.items())


@pytest.mark.parametrize("name", HMTSystem.trained_for)
def test_weights_of_other_sizes_name_the_option(name: str) -> None:
    value = getattr(TINY, name)
    other = replace(TINY, weights=FOLDER, **{name: value / 2 if name[:3] == "sum" else value + 1})
    with pytest.raises(SystemWeightsError, match=f"hmt:{name}.*{name}={value}"):
        HMTSystem(SHARED, other)


def test_ablations_are_opened_with_the_same_weights() -> None:
    for spec in ({"retrieval": "off"}, {"cache": "2"}, {"summary_of": "question"}):
        options = with_options(HMTOptions, "hmt", spec)
        made = opened(**{name: getattr(options, name) for name in spec})
        assert made.name.startswith(f"hmt:{next(iter(spec))}") or next(iter(spec)) in made.name
        assert len(written(made, TEXT).ask(["What is red?"], max_new_tokens=2)) == 1


def test_a_session_without_retrieval_is_no_session_with_it(tmp_path: Path) -> None:
    written(opened(retrieval="off"), TEXT).save(tmp_path / "session")
    with pytest.raises(MemplusError):
        opened().load(tmp_path / "session")


@pytest.mark.parametrize("summary_of", ["beginning", "question"])
def test_a_question_alone_retrieves_the_same_whatever_was_told_last(summary_of: str) -> None:
    sizes = replace(TINY, segment_tokens=96)
    weights = str(tiny_weights(HMTSystem, sizes))
    system = HMTSystem(SHARED, replace(sizes, weights=weights, summary_of=summary_of))  # type: ignore[arg-type]
    session, found = written(system, (TEXT * 4)[: 3 * 96]), []
    for told in ("", "It rained. "):
        if told:
            session.write(told, "last")
        (reply,) = session.ask(["What is red?"], max_new_tokens=1)
        found.append(sorted((one.start, one.share) for one in reply.evidence))
    shares = [[share for _, share in one] for one in found]
    assert [place for place, _ in found[0]] == [0, 96, 192]
    assert (shares[0] == pytest.approx(shares[1], abs=1e-4)) == (summary_of == "question")
