"""The base of latent systems keeps what every system promises: tried with a toy, unregistered."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.systems import options as system_options
from tests.systems import test_contract as contract
from tests.systems.conftest import SHARED
from tests.systems.latent.tiny_weights import tiny_options, tiny_weights
from tests.systems.latent.toy import ToyOptions, ToySystem

from memplus.errors import SystemWeightsError
from memplus.systems import registry

CHECKS = [one for name, one in vars(contract).items() if name.startswith("test_")]
OTHERS = ("nothing", "window", "mplus")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ToySystem:
    """The toy with random weights, as if it stood in the registry."""
    there = {name: registry.SYSTEMS[name] for name in OTHERS}
    there["toy"] = "tests.systems.latent.toy:ToySystem"
    for module in (registry, contract):
        monkeypatch.setattr(module, "SYSTEMS", there)
    given = tiny_options(ToySystem, ToyOptions(longest=80))
    monkeypatch.setitem(system_options.OPTIONS_FOR, "toy", lambda: given)
    (made,) = registry.make_systems([system_options.spec_for("toy")], SHARED)
    assert isinstance(made, ToySystem)
    return made


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.__name__)
def test_a_system_on_this_base_keeps_the_contract(
    check: Callable[..., None], toy: ToySystem, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"system": toy, "tmp_path": tmp_path}
    wanted = inspect.signature(check).parameters
    if "trained_otherwise" in wanted:
        given["trained_otherwise"] = contract.made_otherwise()
    if "files_of_all" in wanted:
        given["files_of_all"] = contract.saved_by_all(tmp_path)
    check(**{name: given[name] for name in wanted})


def test_weights_that_are_not_there_are_missed_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SystemWeightsError, match=r"record\.json.*configs/toy/stage1\.yaml"):
        ToySystem(SHARED)
    with pytest.raises(SystemWeightsError, match=r"record\.json"):
        ToySystem(SHARED, ToyOptions(weights=str(tmp_path)))
    assert "configs/toy/stage1.yaml" in ToySystem.missing()


def test_weights_of_other_sizes_name_the_option() -> None:
    folder = tiny_weights(ToySystem, ToyOptions(segment=24))
    with pytest.raises(SystemWeightsError, match=r"toy:segment.*segment=24"):
        ToySystem(SHARED, ToyOptions(weights=str(folder)))
    assert ToySystem(SHARED, ToyOptions(weights=str(folder), segment=24, longest=64)).mechanism


def test_without_training_the_mechanism_is_the_same_each_time() -> None:
    first, second = (ToySystem(SHARED, ToyOptions(weights="none")) for _ in range(2))
    for session in (one := first.open(0), other := second.open(1)):
        session.write("The gate is red, and nobody came.")
    asked = [session.ask(["What is red?"], max_new_tokens=4) for session in (one, other)]
    assert asked[0] == asked[1]
    assert first.identity == second.identity
    assert (
        first.identity
        != ToySystem(
            SHARED, ToyOptions(weights=str(tiny_weights(ToySystem, ToyOptions())))
        ).identity
    )
