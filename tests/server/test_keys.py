from __future__ import annotations

from pathlib import Path

import pytest

from memplus.errors import ConfigError, MemoryVersionError, UsageError
from memplus.server.database import ServerDatabase
from memplus.server.keys import SCHEMA, Keys


def test_a_key_is_known_until_it_is_revoked_also_to_another_process(tmp_path: Path) -> None:
    keys, other = (Keys(ServerDatabase(tmp_path, SCHEMA)) for _ in range(2))
    assert not keys
    key, secret = keys.add("ann", tenant="acme", scopes=("read",), memory="a*", gateway=True)
    holder = other.holder(secret)
    assert other
    assert holder == key.principal
    assert (holder.tenant, holder.memory, holder.gateway) == ("acme", "a*", True)
    assert holder.may("read")
    assert not holder.may("write")
    assert other.holder(secret[:-1]) is None
    assert other.holder("") is None
    assert other.revoke("ann").id == key.id
    assert keys.holder(secret) is None
    assert keys, "without any key left, nobody comes in"


def test_nothing_on_the_disk_tells_a_key(tmp_path: Path) -> None:
    database = ServerDatabase(tmp_path, SCHEMA)
    _, secret = Keys(database).add("ann")
    database.close()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert secret.encode() not in held
    assert secret[7:20].encode() not in held
    assert (tmp_path / "server.db").stat().st_mode & 0o077 == 0


def test_a_name_is_one_key_and_may_be_used_again_after_it(tmp_path: Path) -> None:
    keys = Keys(ServerDatabase(tmp_path, SCHEMA))
    _, first = keys.add("ann")
    with pytest.raises(UsageError, match="ann"):
        keys.add("ann")
    keys.revoke("ann")
    _, second = keys.add("ann")
    assert keys.holder(second)
    assert not keys.holder(first)
    assert [key.revoked is None for key in keys.all()] == [False, True]
    with pytest.raises(UsageError, match="bob"):
        keys.revoke("bob")


@pytest.mark.parametrize(
    "options",
    [{"tenant": "a/b"}, {"scopes": ()}, {"scopes": ("all",)}, {"memory": "a/b"}],
)
def test_what_no_key_can_be_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    keys = Keys(ServerDatabase(tmp_path, SCHEMA))
    with pytest.raises(ConfigError):
        keys.add("ann", **options)  # type: ignore[arg-type]
    assert not keys


def test_a_tenants_keys_are_revoked_by_its_own_alone(tmp_path: Path) -> None:
    keys = Keys(ServerDatabase(tmp_path, SCHEMA))
    keys.add("ann", tenant="acme")
    with pytest.raises(UsageError):
        keys.revoke("ann", tenant="other")
    assert keys.all("other") == []
    assert keys.revoke("ann", tenant="acme").name == "ann"


def test_two_tenants_may_have_a_key_of_one_name(tmp_path: Path) -> None:
    keys = Keys(ServerDatabase(tmp_path, SCHEMA))
    first, _ = keys.add("ann", tenant="acme")
    second, secret = keys.add("ann", tenant="other")
    with pytest.raises(UsageError, match=f"{first.id} of acme, {second.id} of other"):
        keys.revoke("ann")
    assert keys.revoke(second.id).id == second.id
    assert keys.holder(secret) is None
    assert keys.revoke("ann").id == first.id


def test_a_database_of_a_later_release_is_left_as_it_is(tmp_path: Path) -> None:
    database = ServerDatabase(tmp_path, SCHEMA)
    with database.transaction() as run:
        run.execute("PRAGMA user_version = 9")
    database.close()
    before = (tmp_path / "server.db").read_bytes()
    with pytest.raises(MemoryVersionError):
        ServerDatabase(tmp_path, SCHEMA)
    assert (tmp_path / "server.db").read_bytes() == before


def test_an_id_names_its_own_key_whatever_others_are_called(tmp_path: Path) -> None:
    keys = Keys(ServerDatabase(tmp_path, SCHEMA))
    key, secret = keys.add("ann")
    other, others_secret = keys.add(key.id)
    assert keys.revoke(key.id).id == key.id
    assert keys.holder(secret) is None
    with pytest.raises(UsageError):
        keys.revoke(key.id, by_name=False)
    assert keys.holder(others_secret) is not None
    assert keys.revoke(key.id).id == other.id  # its name, now that no key has that id
