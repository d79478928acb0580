from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memplus.server.chains import SCHEMA, Chains, Place
from memplus.server.database import ServerDatabase
from memplus.store import MemoryStore

HERE = Place("acme", "notes")
ONE, TWO = ("user", "The gate is red."), ("assistant", "Noted.")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ServerDatabase]:
    MemoryStore(tmp_path)
    made = ServerDatabase(tmp_path, SCHEMA)
    yield made
    made.close()


def put(database: ServerDatabase, place: Place, links: list[bytes]) -> set[bytes]:
    with database.transaction() as run:
        return Chains.put(run, place, links)


def test_a_link_tells_role_text_place_in_the_conversation_and_conversation(
    database: ServerDatabase,
) -> None:
    chains = Chains(database)
    links = chains.links(HERE, [ONE, TWO, ONE])
    assert len(set(links)) == 3
    assert chains.links(HERE, [ONE, TWO])[:2] == links[:2]
    assert chains.links(HERE, [("user", f" {ONE[1]}\n")])[0] == links[0]
    others = [
        chains.links(HERE, [("assistant", ONE[1])])[0],
        chains.links(HERE, [("user", "The gate is blue.")])[0],
        chains.links(Place("acme", "notes", "c1"), [ONE])[0],
        chains.links(HERE, [TWO, ONE])[1],
    ]
    assert not set(others) & set(links)


def test_parts_of_a_digest_cannot_be_shifted_into_each_other(database: ServerDatabase) -> None:
    chains = Chains(database)
    assert chains.digest("ab", "c") != chains.digest("a", "bc") != chains.digest("abc")


def test_only_the_memory_that_has_a_link_knows_it(database: ServerDatabase) -> None:
    chains = Chains(database)
    links = chains.links(HERE, [ONE, TWO])
    assert put(database, HERE, links) == set(links)
    assert put(database, HERE, links) == set()
    assert chains.known(HERE, links) == set(links)
    for other in (Place("acme", "else"), Place("", "notes"), Place("other", "notes")):
        assert chains.known(other, links) == set()
    with database.transaction() as run:
        Chains.drop(run, "acme", "notes")
    assert chains.known(HERE, links) == set()


def test_the_secret_outlives_the_process_and_no_text_is_kept(
    database: ServerDatabase, tmp_path: Path
) -> None:
    links = Chains(database).links(HERE, [ONE])
    put(database, HERE, links)
    again = ServerDatabase(tmp_path, SCHEMA)
    assert Chains(again).links(HERE, [ONE]) == links
    again.close()
    files = b"".join(path.read_bytes() for path in tmp_path.glob("server.db*"))
    assert b"gate" not in files


def test_what_is_too_old_or_too_many_goes_and_what_is_seen_stays(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = Chains(database)
    links = chains.links(HERE, [("user", str(n)) for n in range(6)])
    now = [0.0]
    monkeypatch.setattr("memplus.server.chains.time.time", lambda: now[0])
    for link in links:
        put(database, HERE, [link])
        now[0] += 10_000
    put(database, HERE, links[:1])  # seen again, long after
    with database.transaction() as run:
        Chains.prune(run, 3, before=15_000)
    assert chains.known(HERE, links) == {links[0], *links[4:]}
    with database.transaction() as run:
        Chains.prune(run, 3, before=1e9)
    assert chains.known(HERE, links) == set()


def test_more_links_than_one_query_takes_are_found(database: ServerDatabase) -> None:
    chains = Chains(database)
    links = chains.links(HERE, [("user", str(n)) for n in range(1203)])
    put(database, HERE, links[::2])
    assert chains.known(HERE, links) == set(links[::2])
