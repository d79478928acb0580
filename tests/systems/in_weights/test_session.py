from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.in_weights.base import Base

from memplus.errors import ConfigError, CorruptMemoryError, SessionMismatchError
from memplus.memory.tensor_file import opened, write_tensors
from memplus.systems.in_weights.options import InWeightsOptions
from memplus.systems.in_weights.session import InWeightsSession
from memplus.systems.in_weights.system import InWeightsSystem
from memplus.systems.nothing import BareSystem
from memplus.systems.shared import Shared

TEXT = "The gate is red, and nobody came. It rained for days on end; the keeper slept. "
OTHER = "A boat lay in the harbour. Its name was Thistle, and it never left again in winter. "
QUESTIONS = ["What is red?", "Who slept?"]


def system(shared: Shared = SHARED, **options: Any) -> InWeightsSystem:
    given = {"rank": 4, "alpha": 8, "epochs": 3, "learning_rate": 1e-2, "piece_tokens": 32}
    return InWeightsSystem(shared, InWeightsOptions(**given | options))


def told(*texts: str, flush: bool = True, seed: int = 3, **options: Any) -> InWeightsSession:
    session = system(**options).open(seed)
    for text in texts:
        session.write(text, "text")
    if flush:
        session.flush()
    return session


def loss(session: InWeightsSession | Any, text: str) -> float:
    """Of a token of the text, with nothing before it."""
    ((found, count),) = session.score([""], [[text]])[0]
    return -float(found) / int(count)


def weights(session: InWeightsSession) -> dict[str, torch.Tensor]:
    assert session.learned.lora is not None
    return session.learned.lora.tensors()


def same(one: InWeightsSession, other: InWeightsSession) -> bool:
    left, right = weights(one), weights(other)
    return all(torch.equal(weight, right[name]) for name, weight in left.items())


def test_what_is_told_becomes_likelier_than_what_is_not() -> None:
    bare, session = BareSystem(SHARED).open(3), told(TEXT, epochs=8)
    falls = [loss(bare, text) - loss(session, text) for text in (TEXT, OTHER)]
    assert falls[0] > 1
    assert falls[1] < falls[0] / 2


def test_a_session_that_was_told_nothing_is_the_bare_model() -> None:
    session, bare = system().open(3), BareSystem(SHARED).open(3)
    assert session.ask(QUESTIONS, max_new_tokens=4) == bare.ask(QUESTIONS, max_new_tokens=4)
    assert loss(session, TEXT) == loss(bare, TEXT)
    session.flush()
    assert session.nbytes == 0


def test_no_text_stands_before_a_question() -> None:
    """Weights that learned at no rate to speak of answer as if nothing had been told."""
    session = told(TEXT, learning_rate=1e-30)
    bare = BareSystem(SHARED).open(3)
    assert session.ask(QUESTIONS, max_new_tokens=4) == bare.ask(QUESTIONS, max_new_tokens=4)
    assert loss(session, TEXT) == pytest.approx(loss(bare, TEXT), abs=1e-5)


@pytest.mark.parametrize("framing", ["plain", "message"])
def test_one_text_or_many_parts_of_it_are_learned_alike(framing: str) -> None:
    whole = told(TEXT + OTHER, framing=framing)
    parts = told(TEXT[:7], TEXT[7:30], TEXT[30:] + OTHER, framing=framing)
    assert same(whole, parts)
    assert (whole.tokens, whole.nbytes) == (parts.tokens, parts.nbytes)


def test_asking_learns_what_flushing_would_and_keeps_the_text_waiting() -> None:
    asked, flushed = told(TEXT, flush=False), told(TEXT)
    size = asked.nbytes
    assert loss(asked, TEXT) == loss(flushed, TEXT)
    assert asked.learned.lora is None
    assert asked.waiting == TEXT
    assert asked.nbytes == size + flushed.nbytes
    asked.flush()
    assert same(asked, flushed)
    assert (asked.tokens, asked.nbytes) == (flushed.tokens, flushed.nbytes)


def test_what_waits_is_learned_once_until_more_is_told() -> None:
    session = told(TEXT, flush=False)
    first, again = session._told(), session._told()
    assert first is again is session.fork()._told()
    session.write(OTHER, "text")
    later = session._told()
    assert later is not first
    session.flush()
    assert session.learned is later


def test_it_goes_on_from_what_was_learned_and_forgets_some_of_it() -> None:
    session = told(TEXT)
    before, size = loss(session, OTHER), session.nbytes
    session.write(OTHER, "text")
    session.flush()
    assert loss(session, OTHER) < before - 0.5
    assert session.nbytes == size
    assert session.tokens == len(TEXT) + len(OTHER)
    together = told(TEXT, OTHER)
    assert loss(session, TEXT) > loss(together, TEXT)
    assert loss(session, OTHER) < loss(together, OTHER)


def test_the_seed_is_of_the_first_weights_and_of_the_order() -> None:
    assert same(told(TEXT), told(TEXT))
    assert not same(told(TEXT), told(TEXT, seed=4))


def test_a_line_ends_between_sources() -> None:
    session = system().open(0)
    for text, source in (("One", "a"), (" two", "a"), ("Three", "b")):
        session.write(text, source)
    assert session.waiting == "One two\nThree"
    session.flush()
    session.write("Four", "c")
    assert session.waiting == "Four"


def test_a_fork_and_what_it_was_forked_from_share_no_later_weights() -> None:
    session = told(TEXT)
    before = {name: one.clone() for name, one in weights(session).items()}
    fork = session.fork()
    fork.write(OTHER, "text")
    fork.flush()
    assert not same(fork, session)
    assert all(torch.equal(one, before[name]) for name, one in weights(session).items())
    session.write(OTHER, "text")
    session.flush()
    assert same(fork, session)


def test_the_text_of_one_token_is_learned_with_what_follows() -> None:
    session = told("x")
    assert session.learned.lora is None
    assert (session.tokens, session.nbytes) == (1, 0)


class _Stopped(Exception):
    pass


def test_what_stops_training_in_its_middle_leaves_session_and_base_as_they_were() -> None:
    model = make_mplus(config=SMALL)
    session = system(Shared(lambda: model)).open(3)
    session.write(TEXT, "text")
    session.flush()
    session.write(OTHER, "text")
    before, kept = Base.of(model), session.fork()
    calls = iter(range(100))

    def stop(*_: object) -> None:
        if next(calls) == 4:
            raise _Stopped

    handle = model.backbone.layers[2].module.register_forward_hook(stop)
    for learns in (session.flush, lambda: session.ask(QUESTIONS, max_new_tokens=1)):
        calls = iter(range(100))
        with pytest.raises(_Stopped):
            learns()
    handle.remove()
    before.require_same(model)
    assert same(session, kept)
    assert (session.waiting, session.tokens, session.nbytes) == (OTHER, kept.tokens, kept.nbytes)
    session.flush()
    before.require_same(model)
    kept.flush()
    assert same(session, kept)


def test_a_rate_that_is_too_high_is_said_and_the_text_waits_on() -> None:
    session = told(TEXT, flush=False, learning_rate=1e30)
    with pytest.raises(ConfigError, match="learning_rate cannot be"):
        session.flush()
    assert session.waiting == TEXT


def test_what_the_last_step_made_is_looked_at_too() -> None:
    session = told("The gate. ", flush=False, learning_rate=1e30, epochs=1)
    with pytest.raises(ConfigError, match="after 1 steps the loss is not finite"):
        session.flush()
    assert session.waiting == "The gate. "


def test_it_learns_where_no_gradients_are_wanted() -> None:
    session = told(TEXT, flush=False)
    with torch.inference_mode():
        session.ask(QUESTIONS, max_new_tokens=2)
        session.flush()
    assert same(session, told(TEXT))
    session.write(OTHER, "text")
    session.flush()


def test_a_base_in_half_precision_learns_in_float32() -> None:
    shared = Shared(lambda: make_mplus(config=SMALL, dtype=torch.bfloat16))
    session = system(shared).open(3)
    before = loss(session, TEXT)
    session.write(TEXT, "text")
    session.flush()
    assert {one.dtype for one in weights(session).values()} == {torch.float32}
    assert loss(session, TEXT) < before - 0.5


@pytest.mark.long
def test_a_loaded_session_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    path = tmp_path / "session"
    session = told(TEXT)
    session.write(OTHER, "text")
    for asked in (False, True):
        if asked:
            session.ask(QUESTIONS, max_new_tokens=1)
        session.save(path)
        loaded, fork = system().load(path), session.fork()
        assert same(loaded, fork)
        assert (loaded._ahead is not None) == asked
        assert (loaded.tokens, loaded.nbytes) == (fork.tokens, fork.nbytes)
        for each in (loaded, fork):
            each.write("It is late.", "text")
            each.flush()
        assert same(loaded, fork)


def test_a_file_of_another_model_or_of_other_options_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "session"
    told(TEXT).save(path)
    other = Shared(lambda: make_mplus(config=SMALL, seed=9))
    with pytest.raises(SessionMismatchError, match="another model"):
        system(other).load(path)
    with pytest.raises(SessionMismatchError, match="rank=4"):
        system(rank=3).load(path)


def test_a_file_whose_parts_contradict_each_other_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "session"
    told(TEXT).save(path)
    with opened(path) as file:
        text, tensors = file.text, file.tensors()
    name = next(name for name in tensors if name.startswith("learned."))
    wrong: dict[str, dict[str, torch.Tensor]] = {
        "learned": {one: tensor for one, tensor in tensors.items() if one != name},
        "ahead": tensors
        | {one.replace("learned.", "ahead."): kept.clone() for one, kept in tensors.items()},
        "lengths": tensors
        | {
            "text": torch.tensor([65, 66], dtype=torch.uint8),
            "lengths": torch.tensor([1, 1], dtype=torch.int32),
        },
    }
    for part, given in wrong.items():
        write_tensors(path, given, text)
        with pytest.raises(CorruptMemoryError, match=part):
            system().load(path)
