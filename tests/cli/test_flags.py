"""Groups of flags: which memory they name, and who wins."""

from pathlib import Path

import pytest
from tests.cli.conftest import NOTE, QUESTION, Run

from memplus.cli.flags import PlaceFlags
from memplus.cli.standard import default_store
from memplus.errors import UsageError

M, S = Path("m.memory"), Path("s")


def typed(*names: str) -> frozenset[str]:
    return frozenset(names)


def test_nothing_named_is_the_default_memory_of_the_user_s_own_store() -> None:
    place = PlaceFlags().place
    assert (place.memory, place.store, place.id) == (None, default_store(), "default")


def test_a_name_alone_is_in_the_user_s_own_store() -> None:
    place = PlaceFlags(id="alice", typed=typed("id")).place
    assert (place.store, place.id) == (default_store(), "alice")


def test_the_environment_s_store_replaces_the_user_s_own() -> None:
    place = PlaceFlags(store=S).place
    assert (place.store, place.id) == (S, "default")


@pytest.mark.parametrize(
    "flags",
    [
        PlaceFlags(memory=M, store=S, id="a", typed=typed("memory", "store", "id")),
        PlaceFlags(memory=M, id="a", typed=typed("memory", "id")),
        PlaceFlags(memory=M, store=S),
        PlaceFlags(store=S, typed=typed("store")),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: PlaceFlags) -> None:
    with pytest.raises(UsageError):
        _ = flags.place


def test_the_command_line_wins_over_the_environment() -> None:
    file = PlaceFlags(memory=M, store=S, id="a", typed=typed("memory")).place
    assert file.memory == M
    stored = PlaceFlags(memory=M, store=S, id="a", typed=typed("id")).place
    assert (stored.memory, stored.store, stored.id) == (None, S, "a")


def test_the_same_through_a_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMPLUS_STORE", str(tmp_path / "s"))
    assert run("tell", NOTE).code == 0
    assert run("tell", NOTE.replace("4821", "7310"), "--memory", tmp_path / "m").code == 0
    assert run("ask", QUESTION).out == "4821\n"
    assert run("ask", QUESTION, "--memory", tmp_path / "m").out == "7310\n"


def test_asking_before_anything_was_told_says_so(run: Run) -> None:
    ran = run("ask", QUESTION)
    assert (ran.code, "There is no memory 'default'" in ran.err) == (2, True)
    assert run("memories", "list").code == 0
