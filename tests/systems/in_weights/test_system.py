from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes import ADAPTERS, family, make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus.systems.in_weights.options import InWeightsOptions
from memplus.systems.in_weights.system import InWeightsSystem
from memplus.systems.protocol import Explains, Loads, Saves, Scores
from memplus.systems.shared import Shared

TEXT = "The gate is red, and nobody came."
OPTIONS = InWeightsOptions(rank=2, alpha=4, epochs=2, learning_rate=1e-2)


def test_it_scores_and_saves_and_retrieves_nothing() -> None:
    system = InWeightsSystem(SHARED, OPTIONS)
    assert isinstance(system, Loads)
    assert issubclass(system.sessions, Scores)
    assert issubclass(system.sessions, Saves)
    assert not issubclass(system.sessions, Explains)


def test_the_memorys_adapters_take_no_part() -> None:
    adapted = Shared(lambda: make_mplus(config=replace(SMALL, adapters=ADAPTERS)))
    said = []
    for shared in (SHARED, adapted):
        session = InWeightsSystem(shared, OPTIONS).open(1)
        session.write(TEXT)
        session.flush()
        said.append((session.ask(["What?"], max_new_tokens=6), session.score([""], [[TEXT]])))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", ["llama", "phi3", "gpt_neox", "gemma2"])
def test_decoders_are_trained_whatever_their_layers_are_called(name: str) -> None:
    model = family(name)
    shared = Shared(lambda: model)
    session = InWeightsSystem(shared, OPTIONS).open(1)
    ((before, _),) = session.score([""], [[TEXT]])[0]
    session.write(TEXT)
    session.flush()
    ((after, _),) = session.score([""], [[TEXT]])[0]
    assert after > before
