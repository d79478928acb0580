from __future__ import annotations

from pathlib import Path

import pytest

from memplus.server.chains import SCHEMA, Chains, Link, Place
from memplus.server.database import ServerDatabase
from memplus.store import MemoryStore

HERE = Place("acme", "notes")
ONE, TWO = ("user", "The gate is red."), ("assistant", "Noted.")


def put(database: ServerDatabase, place: Place, links: list[Link]) -> set[Link]:
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
    assert chains.known(HERE, links).keys() == set(links)
    for other in (Place("acme", "else"), Place("", "notes"), Place("other", "notes")):
        assert chains.known(other, links) == {}
    with database.transaction() as run:
        Chains.drop(run, "acme", "notes")
    assert chains.known(HERE, links) == {}


def test_the_secret_outlives_the_process_and_no_text_is_kept(
    database: ServerDatabase, tmp_path: Path
) -> None:
    links = Chains(database).links(HERE, [ONE])
    put(database, HERE, links)
    again = ServerDatabase(tmp_path, SCHEMA)
    assert Chains(again).links(HERE, [ONE]) == links
    again.close()
    files = b"".join(path.read_bytes() for path in tmp_path.glob("server.db*"))
    assert b"gate is" not in files


def test_what_is_too_old_or_too_many_goes_and_what_is_seen_stays(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = Chains(database)
    links = chains.links(HERE, [("user", str(n)) for n in range(6)])
    now = [0.0]
    monkeypatch.setattr(database.clock, "now", lambda: now[0])
    for link in links:
        put(database, HERE, [link])
        now[0] += 10_000
    put(database, HERE, links[:1])  # seen again, long after
    with database.transaction() as run:
        Chains.prune(run, 3, before=15_000)
    assert chains.known(HERE, links).keys() == {links[0], *links[4:]}
    with database.transaction() as run:
        Chains.prune(run, 3, before=1e9)
    assert chains.known(HERE, links) == {}


def test_more_links_than_one_query_takes_are_found(database: ServerDatabase) -> None:
    chains = Chains(database)
    links = chains.links(HERE, [("user", str(n)) for n in range(1203)])
    put(database, HERE, links[::2])
    assert chains.known(HERE, links).keys() == set(links[::2])


ROLES = ("user", "assistant")


def said(*texts: str) -> list[tuple[str, str]]:
    return [(ROLES[at % 2], text) for at, text in enumerate(texts)]


@pytest.mark.parametrize("conversation", ["", "c1"])
def test_a_history_cut_at_the_front_goes_on_where_it_was_said(
    database: ServerDatabase, conversation: str
) -> None:
    chains, place = Chains(database), Place("acme", "notes", conversation)
    turns = said("a", "Noted.", "b", "Noted.", "c", "Noted.")
    links = chains.links(place, turns)
    put(database, place, links)
    new = ("user", "d")
    for cut in (1, 2, 3, 4):  # behind a reply as well as before it
        found = chains.continued(place, [*turns[cut:], new])
        assert found[:-1] == links[cut:]
        assert found[-1:] == chains.links(place, [new], after=links[-1])
        assert chains.known(place, found).keys() == set(links[cut:])
    # A changed turn, and what follows it, is new there too.
    edited = chains.continued(place, [*turns[2:4], ("user", "x"), turns[5], new])
    assert chains.known(place, edited).keys() == set(links[2:4])


def test_one_turn_alone_and_other_words_begin_a_chat(database: ServerDatabase) -> None:
    chains = Chains(database)
    turns = said("a", "Noted.", "b", "Noted.", "c")
    put(database, HERE, chains.links(HERE, turns))
    for chat in (turns[2:3], turns[4:], said("b", "Why?", "c"), said("x", "Noted.", "b", "Noted.")):
        assert chains.continued(HERE, chat) == chains.links(HERE, chat)
    other = Place("acme", "notes", "c2")
    assert chains.continued(other, turns[2:]) == chains.links(other, turns[2:])


def test_a_chat_that_repeats_the_words_of_another_stays_its_own(database: ServerDatabase) -> None:
    chains = Chains(database)
    long = said("a", "Noted.", "b", "Noted.", "c")
    put(database, HERE, chains.links(HERE, long))
    own = long[2:]  # what the client of another chat says from its beginning on
    put(database, HERE, chains.links(HERE, own[:2]))
    assert chains.continued(HERE, own) == chains.links(HERE, own)
    named = Place("acme", "notes", "c1")  # where it has a name there is one chat only
    links = chains.links(named, long)
    put(database, named, [*links, *chains.links(named, own[:2])])
    assert chains.continued(named, own) == links[2:]


def test_the_longest_of_several_places_counts(database: ServerDatabase) -> None:
    chains, place = Chains(database), Place("acme", "notes", "c1")
    turns = said("yes", "Noted.", "yes", "Noted.", "no", "Noted.", "yes", "Noted.", "maybe")
    links = chains.links(place, turns)
    put(database, place, links)
    assert chains.continued(place, turns[2:]) == links[2:]
    assert chains.continued(place, turns[6:]) == links[6:]


def test_a_table_of_the_first_version_is_given_what_it_lacks(tmp_path: Path) -> None:
    MemoryStore(tmp_path)
    first = """
    CREATE TABLE turns (
        tenant TEXT NOT NULL, memory TEXT NOT NULL, link BLOB NOT NULL, seen REAL NOT NULL,
        PRIMARY KEY (tenant, memory, link)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO turns VALUES ('acme', 'notes', x'01', 1.0);
    """
    ServerDatabase(tmp_path, first).close()
    database = ServerDatabase(tmp_path, SCHEMA)
    chains, old = Chains(database), Link(b"\x01", b"")
    assert chains.known(HERE, [old]) == {old: ""}
    links = chains.links(HERE, [ONE, TWO, ("user", "b")])
    put(database, HERE, links[:2])
    assert chains.continued(HERE, [ONE, TWO, ("user", "b")]) == links
    database.close()


def test_a_turn_names_the_text_that_wrote_it_and_its_reply_goes_with_it(
    database: ServerDatabase,
) -> None:
    chains = Chains(database)
    links = chains.links(HERE, said("a", "Noted.", "b", "Noted."))
    with database.transaction() as run:
        fresh = Chains.put(run, HERE, links[:2])
        Chains.name(run, HERE, links[:2], fresh, {links[0]: "t1"})
    with database.transaction() as run:
        fresh = Chains.put(run, HERE, links)
        Chains.name(run, HERE, links, fresh, {links[2]: "t2"})
    assert list(chains.known(HERE, links).values()) == ["t1", "t1", "t2", "t2"]
    with database.transaction() as run:
        gone = dict.fromkeys(links[2:], "t2")
        assert Chains.put(run, HERE, links, gone) == set(links[2:])
        Chains.name(run, HERE, links, set(links[2:]), {links[2]: "t3"})
        # Another request that looked before that does not write it a second time.
        assert Chains.put(run, HERE, links, gone) == set()
        Chains.keep(run, "acme", "notes", ["t1"])
    assert list(chains.known(HERE, links).values()) == ["", "", "t3", "t3"]
