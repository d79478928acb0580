import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus.errors import (
    CorruptMemoryError,
    MemoryVersionError,
    MemplusError,
    NotAMemoryError,
    NotFoundError,
    SessionMismatchError,
)
from memplus.memory.checks import Fields
from memplus.memory.tensor_file import opened, write_tensors
from memplus.systems.mplus import MPlusSystem
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import Shared, SharedSystem


@dataclass(frozen=True)
class Options:
    k: int = 4
    lengths: tuple[int, ...] = (1, 2)


class State(Fields):
    tokens: int
    sources: list[str]


class Notebook(SharedSystem[Options]):
    registered = "notebook"
    options_type = Options


class Diary(Notebook):
    registered = "diary"


class Almanac(Notebook):
    registered = "almanac"
    part = "base"


STATE = State(tokens=7, sources=["a", "größer"])


def saved(folder: Path, system: SharedSystem[Options]) -> Path:
    numbers = torch.arange(12.0).reshape(3, 4)
    tensors = {"rows": numbers[1:], "same": numbers[1:, ::2], "bytes": torch.tensor([1, 2])}
    save_session(folder / "s", system, STATE, tensors)
    return folder / "s"


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path, Notebook(SHARED))
    state, tensors = load_session(path, Notebook(SHARED), State)
    assert state == STATE
    assert tensors["rows"].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert tensors["same"].tolist() == [[4, 6], [8, 10]]
    assert tensors["bytes"].tolist() == [1, 2]
    assert [one.name for one in tmp_path.iterdir()] == ["s"]


def test_another_system_other_options_and_another_model_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Notebook(SHARED))
    with pytest.raises(
        SessionMismatchError, match="not a saved session of diary: notebook saved it"
    ):
        load_session(path, Diary(SHARED), State)
    with pytest.raises(SessionMismatchError, match=r"session of notebook:k=9: .* \(k=4\)"):
        load_session(path, Notebook(SHARED, Options(k=9)), State)
    other = Shared(lambda: make_mplus(config=SMALL, seed=1))
    with pytest.raises(SessionMismatchError, match="another model"):
        load_session(path, Notebook(other), State)


def test_a_session_that_was_saved_under_the_whole_models_name_is_loaded(tmp_path: Path) -> None:
    system = Almanac(SHARED)
    path = saved(tmp_path, system)
    with opened(path) as file:
        header, tensors = json.loads(file.text), file.tensors()
    assert header["model"] != SHARED.mplus.fingerprint
    header["model"] = SHARED.mplus.fingerprint
    write_tensors(path, tensors, json.dumps(header))
    assert load_session(path, system, State)[0] == STATE


def test_an_option_that_is_younger_than_the_file_had_its_default_then(tmp_path: Path) -> None:
    path = saved(tmp_path, Notebook(SHARED))
    with opened(path) as file:
        header, tensors = json.loads(file.text), file.tensors()
    del header["options"]["k"]
    write_tensors(path, tensors, json.dumps(header))
    assert load_session(path, Notebook(SHARED), State)[0] == STATE
    with pytest.raises(SessionMismatchError, match=r"k=4"):
        load_session(path, Notebook(SHARED, Options(k=9)), State)


def test_a_memory_is_no_session_and_a_session_no_memory(tmp_path: Path) -> None:
    path = saved(tmp_path, Notebook(SHARED))
    with pytest.raises(NotAMemoryError, match="a saved session of notebook"):
        MPlusSystem(SHARED).load(path)
    MPlusSystem(SHARED).open(0).save(path)
    with pytest.raises(SessionMismatchError, match="it is a memory"):
        load_session(path, Notebook(SHARED), State)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path, Notebook(SHARED))
    whole = path.read_bytes()
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((CorruptMemoryError, NotAMemoryError)):
            load_session(path, Notebook(SHARED), State)
    path.write_bytes(whole[:-1])
    with pytest.raises(MemplusError):
        load_session(path, Notebook(SHARED), State)
    with pytest.raises(NotFoundError):
        load_session(tmp_path / "absent", Notebook(SHARED), State)


def test_what_a_file_says_is_checked(tmp_path: Path) -> None:
    path = saved(tmp_path, Notebook(SHARED))
    with opened(path) as file:
        header, tensors = json.loads(file.text), file.tensors()
    write_tensors(path, tensors, json.dumps(header | {"state": {"tokens": "seven"}}))
    with pytest.raises(CorruptMemoryError, match=r"header\.state\.tokens"):
        load_session(path, Notebook(SHARED), State)
    write_tensors(path, tensors, json.dumps(header | {"version": 2}))
    with pytest.raises(MemoryVersionError):
        load_session(path, Notebook(SHARED), State)
    infinite = {"rows": torch.tensor([1.0, float("inf")])}
    write_tensors(path, infinite, json.dumps(header))
    with pytest.raises(CorruptMemoryError, match="rows"):
        load_session(path, Notebook(SHARED), State)


def test_a_file_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    path = saved(tmp_path, Notebook(SHARED))
    before = path.read_bytes()
    with pytest.raises(NotFoundError):
        save_session(tmp_path / "absent" / "s", Notebook(SHARED), STATE, {})
    with pytest.raises(Exception, match="share memory"):
        save_session(path, Notebook(SHARED), STATE, {"a": torch.ones(2), "b": ONES, "c": ONES})
    assert path.read_bytes() == before


ONES = torch.ones(2)
