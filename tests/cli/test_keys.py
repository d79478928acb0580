from __future__ import annotations

import json
from pathlib import Path

import pytest

from memplus.cli.main import main
from memplus.errors import NotAStoreError
from memplus.server.database import ServerDatabase
from memplus.server.keys import SCHEMA, Keys
from memplus.store import MemoryStore


def ran(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["keys", *arguments])
    return int(str(end.value.code))


def test_a_key_stands_alone_on_its_line_and_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--store", str(tmp_path))
    assert ran("add", "ann", "--tenant", "acme", "--scope", "read", "--memory", "a*", *place) == 0
    (secret,) = capsys.readouterr().out.splitlines()
    keys = Keys(ServerDatabase(tmp_path, SCHEMA))
    holder = keys.holder(secret)
    assert holder is not None
    assert (holder.tenant, holder.memory, holder.scopes) == ("acme", "a*", {"read"})
    assert ran("list", *place) == 0
    shown = capsys.readouterr().out
    assert "acme" in shown
    assert secret not in shown
    assert ran("revoke", "ann", *place) == 0
    assert keys.holder(secret) is None
    assert ran("revoke", "ann", *place) == 2
    assert "memplus keys list" in capsys.readouterr().err


def test_the_folder_above_a_store_is_told_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "data" / "store"
    store.mkdir(parents=True)
    monkeypatch.setenv("MEMPLUS_STORE", str(store.parent))
    assert ran("add", "ann") == 4
    told = " ".join(capsys.readouterr().err.split())
    assert "its `store` is a folder." in told
    assert "did you mean" not in told
    MemoryStore(store)
    for arguments in (("add", "ann"), ("list",)):
        assert ran(*arguments) == 4
        told = "".join(capsys.readouterr().err.split())
        assert f"isnotastoreofmemories:its`store`isafolder(didyoumean{store}?)." in told
    with pytest.raises(NotAStoreError, match="did you mean"):
        MemoryStore.existing(store.parent)


def test_as_json_every_field_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--store", str(tmp_path), "--json")
    assert ran("add", "gate", "--gateway", *place) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["gateway"]
    assert made["key"].startswith(made["prefix"])
    assert ran("list", *place) == 0
    (listed,) = json.loads(capsys.readouterr().out)["keys"]
    assert listed == {name: value for name, value in made.items() if name != "key"}


@pytest.mark.parametrize("flags", [("--scope", "all"), ("--tenant", "a/b"), ("--memory", "a/b")])
def test_what_no_key_can_be_is_refused(tmp_path: Path, flags: tuple[str, str]) -> None:
    assert ran("add", "ann", *flags, "--store", str(tmp_path)) == 2


@pytest.mark.parametrize("command", [["revoke", "ann"], ["list"]])
def test_looking_at_keys_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    missing, empty = tmp_path / "none", tmp_path / "empty"
    empty.mkdir()
    assert ran(*command, "--store", str(missing)) == (0 if command == ["list"] else 2)
    assert ran(*command, "--store", str(empty)) == 4
    assert not missing.exists()
    assert not list(empty.iterdir())
    MemoryStore(tmp_path / "s")
    assert ran(*command, "--store", str(tmp_path / "s")) == (0 if command == ["list"] else 2)
    assert not (tmp_path / "s" / "server.db").exists()
