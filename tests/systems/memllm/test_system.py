import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.systems.conftest import SHARED
from tests.systems.memllm.tiny_weights import tiny_weights

from memplus.errors import ConfigError, SessionMismatchError, SystemWeightsError
from memplus.systems.memllm.system import MemLLMSystem
from memplus.systems.memllm.tools import MemLLMOptions
from memplus.systems.registry import make_systems

OPTIONS = MemLLMOptions(weights=str(tiny_weights()), context_sentences=0)


def test_weights_that_are_missing_are_said_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(SystemWeightsError, match=r"write/adapter.json is not there.*write\.yaml"):
        make_systems([f"memllm:weights={tmp_path}"], SHARED)
    shutil.copytree(tiny_weights() / "read", tmp_path / "read")
    MemLLMSystem(SHARED, MemLLMOptions(weights=str(tmp_path), extraction="rules")).open(0)


def test_weights_of_another_model_are_said(tmp_path: Path) -> None:
    shutil.copytree(tiny_weights(), tmp_path / "w")
    (tmp_path / "w" / "write" / "adapter.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SystemWeightsError, match="memplus train"):
        MemLLMSystem(SHARED, MemLLMOptions(weights=str(tmp_path / "w"))).open(0)


def test_a_session_is_loaded_by_the_same_options_alone(tmp_path: Path) -> None:
    session = MemLLMSystem(SHARED, OPTIONS).open(0)
    session.write("It rained.")
    session.save(tmp_path / "s")
    with pytest.raises(SessionMismatchError, match="update"):
        MemLLMSystem(SHARED, replace(OPTIONS, update="add")).load(tmp_path / "s")


def test_a_hand_written_pattern_writes_where_that_is_asked_for() -> None:
    system = MemLLMSystem(SHARED, replace(OPTIONS, extraction="rules"))
    session = system.open(0)
    session.write("Marta Velez's locker code is 4821. ", "s")
    session.flush()
    assert [tuple(row.triple) for row in session.table.rows()] == [
        ("Marta Velez", "locker code", "4821")
    ]


@pytest.mark.parametrize(
    "option",
    [
        "patience=0",
        "most_results=0",
        "context_tokens=0",
        "late_stopping=yes",
        "setting=none",
        "depth=1",
    ],
)
def test_options_that_cannot_be_are_refused(option: str) -> None:
    with pytest.raises(ConfigError):
        make_systems([f"memllm:weights={tiny_weights()}:{option}"], SHARED)
