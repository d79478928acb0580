import subprocess
import sys
from dataclasses import fields, replace
from typing import Any, Literal, get_origin, get_type_hints

import pytest
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.options import spec_for

from memplus.errors import ConfigError
from memplus.systems.registry import (
    SYSTEMS,
    described,
    make_systems,
    system_class,
    usual_systems,
)
from memplus.systems.shared import Shared


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="system cannot be 'm': there are mplus, memoryllm"):
        make_systems(["mplus", "m"], SHARED)


def test_a_system_is_named_once() -> None:
    with pytest.raises(ConfigError, match="named twice"):
        make_systems(["mplus", "nothing", "mplus"], SHARED)


def test_systems_come_in_the_order_of_their_names() -> None:
    names = list(reversed(SYSTEMS))
    made = make_systems([spec_for(name) for name in names], SHARED)
    assert [one.name.partition(":")[0] for one in made] == names


def test_a_model_without_a_long_term_memory_is_no_mplus() -> None:
    short = Shared(lambda: make_mplus(config=replace(SMALL, retrieved_tokens=0)))
    with pytest.raises(ConfigError, match="no long-term memory"):
        make_systems(["mplus"], short)
    assert [one.name for one in usual_systems(short)] == ["memoryllm", "nothing"]
    assert [one.name for one in usual_systems(SHARED)] == ["mplus", "memoryllm", "nothing"]


def test_naming_a_system_imports_no_model_library() -> None:
    code = "import sys, memplus.systems.registry; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_options_stand_behind_a_name_and_are_checked() -> None:
    with pytest.raises(ConfigError, match="mplus:depth cannot be '3': there is no such option"):
        make_systems(["mplus:depth=3"], SHARED)
    with pytest.raises(ConfigError, match="NAME:OPTION=VALUE"):
        make_systems(["mplus:depth"], SHARED)


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_option_of_another_kind_is_refused_where_options_are_made(name: str) -> None:
    options: Any = system_class(name).options_type
    usual, kinds = options(), get_type_hints(options)
    for one in fields(options):
        value = getattr(usual, one.name)
        wrong: dict[type, list[object]] = {
            bool: ["true", 1], int: [True, 2.5, "3"], float: [float("inf"), float("nan"), "1"],
            str: [3], tuple: [["a"], "a"],
        }  # fmt: skip
        for other in wrong[type(value)]:
            with pytest.raises(ConfigError, match=rf"^{one.name} cannot be "):
                options(**{one.name: other})
        if get_origin(kinds[one.name]) is Literal:
            with pytest.raises(ConfigError, match=rf"^{one.name} cannot be 'no such'.* or '"):
                options(**{one.name: "no such"})


def test_every_system_is_described_without_a_model() -> None:
    found = {str(one["name"]): one for one in described()}
    assert list(found) == list(SYSTEMS)
    assert all(isinstance(one["title"], str) for one in found.values())
    assert "k" in found["bm25"]["options"]
