from __future__ import annotations

import pytest

from memplus.server.database import ServerDatabase
from memplus.server.kept_conversations import KeptConversations
from memplus.server.principals import Principal

ANN = Principal("acme", "k1")
COLLEAGUE = Principal("acme", "k2")
STRANGER = Principal("other", "k1")


def begin(
    database: ServerDatabase, id: str, memory: str | None = None, who: Principal = ANN
) -> None:
    with database.transaction() as run:
        KeptConversations.begin(run, who, id, memory, {}, 3)


def add(database: ServerDatabase, id: str, *items: str) -> None:
    with database.transaction() as run:
        KeptConversations.add(run, ANN, id, [{"id": one} for one in items])


def test_a_conversation_keeps_the_memory_that_it_began_with(database: ServerDatabase) -> None:
    kept = KeptConversations(database)
    begin(database, "conv_1")
    found = kept.one(ANN, "conv_1")
    assert found is not None
    assert found.memory is None
    for memory in ("notes", "else"):
        begin(database, "conv_1", memory)
        found = kept.one(ANN, "conv_1")
        assert found is not None
        assert found.memory == "notes"


def test_one_that_the_server_named_is_seen_with_its_memory_others_by_their_key_alone(
    database: ServerDatabase,
) -> None:
    kept = KeptConversations(database)
    begin(database, "conv_1", "notes")
    begin(database, "mine", "notes")
    assert kept.one(COLLEAGUE, "conv_1") is not None
    assert kept.one(Principal("acme", "k3", memory="else"), "conv_1") is None
    assert kept.one(STRANGER, "conv_1") is None
    assert kept.one(COLLEAGUE, "mine") is None
    begin(database, "mine", "else", who=COLLEAGUE)
    found = kept.one(ANN, "mine")
    assert found is not None
    assert found.memory == "notes"


def test_without_a_memory_it_is_its_keys_alone(database: ServerDatabase) -> None:
    begin(database, "conv_1", "")
    kept = KeptConversations(database)
    assert kept.one(ANN, "conv_1") is not None
    assert kept.one(COLLEAGUE, "conv_1") is None


def test_items_stay_in_order_and_go_one_by_one_or_all(database: ServerDatabase) -> None:
    kept = KeptConversations(database)
    begin(database, "conv_1", "notes")
    add(database, "conv_1", "a", "b")
    add(database, "conv_1", "c")
    assert [one["id"] for one in kept.items(ANN, "conv_1")] == ["a", "b", "c"]
    assert kept.delete_item(ANN, "conv_1", "b")
    assert not kept.delete_item(ANN, "conv_1", "b")
    assert [one["id"] for one in kept.items(ANN, "conv_1")] == ["a", "c"]
    kept.update(ANN, "conv_1", {"topic": "gates"})
    found = kept.one(ANN, "conv_1")
    assert found is not None
    assert found.metadata == {"topic": "gates"}
    kept.delete(ANN, "conv_1")
    assert kept.one(ANN, "conv_1") is None
    assert kept.items(ANN, "conv_1") == []


def test_the_one_used_longest_ago_goes_where_there_are_too_many(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, now = KeptConversations(database), [0.0]
    monkeypatch.setattr(database.clock, "now", lambda: now[0])
    for id in ("a", "b", "c", "a", "d"):
        now[0] += 1
        begin(database, id, "notes")
        add(database, id, f"item-{id}")
    assert [id for id in "abcd" if kept.one(ANN, id)] == ["a", "c", "d"]
    assert kept.items(ANN, "b") == []
    with database.transaction() as run:
        KeptConversations.prune(run, before=4.5)
    assert [id for id in "abcd" if kept.one(ANN, id)] == ["d"]


def test_forgetting_leaves_the_conversation_and_takes_what_was_said(
    database: ServerDatabase,
) -> None:
    kept = KeptConversations(database)
    for id, memory in (("conv_1", "notes"), ("conv_2", "else")):
        begin(database, id, memory)
        add(database, id, f"item-{id}")
    with database.transaction() as run:
        KeptConversations.empty(run, "acme", "notes")
    assert kept.one(ANN, "conv_1") is not None
    assert kept.items(ANN, "conv_1") == []
    with database.transaction() as run:
        KeptConversations.drop(run, "acme", "notes")
    assert kept.one(ANN, "conv_1") is None
    assert len(kept.items(ANN, "conv_2")) == 1


def test_of_what_is_deleted_no_file_holds_a_word(database: ServerDatabase) -> None:
    kept = KeptConversations(database)
    begin(database, "conv_1", "notes")
    add(database, "conv_1", "tulips", "roses")
    for name, delete in (
        ("tulips", lambda: kept.delete_item(ANN, "conv_1", "tulips")),
        ("roses", lambda: kept.delete(ANN, "conv_1")),
    ):
        delete()
        files = database.path.parent.glob("server.db*")
        assert not any(name.encode() in file.read_bytes() for file in files)


def test_items_are_read_by_the_page_and_one_by_one(database: ServerDatabase) -> None:
    kept = KeptConversations(database)
    begin(database, "conv_1", "notes")
    begin(database, "conv_2", "notes")
    add(database, "conv_1", *"abcd")
    add(database, "conv_2", "else")

    def page(after: str | None, limit: int, *, newest_first: bool) -> str | None:
        found = kept.page(ANN, "conv_1", after, limit, newest_first=newest_first)
        return None if found is None else "".join(one["id"] for one in found)

    assert page(None, 3, newest_first=True) == "dcb"
    assert page("b", 3, newest_first=True) == "a"
    assert page(None, 2, newest_first=False) == "ab"
    assert page("b", 9, newest_first=False) == "cd"
    assert page("d", 9, newest_first=False) == ""
    assert page("else", 9, newest_first=False) is None
    assert kept.item(ANN, "conv_1", "b") == {"id": "b"}
    assert kept.item(ANN, "conv_1", "else") is None


def test_an_item_is_named_wherever_it_is_by_those_who_see_its_conversation(
    database: ServerDatabase,
) -> None:
    kept = KeptConversations(database)
    for id, memory in (("conv_1", "notes"), ("conv_2", ""), ("mine", "notes")):
        begin(database, id, memory)
        add(database, id, f"item-{id}")
    ids = ["item-conv_1", "item-conv_2", "item-mine", "none"]
    assert kept.named(ANN, ids) == {id: {"id": id} for id in ids[:3]}
    assert set(kept.named(COLLEAGUE, ids)) == {"item-conv_1"}
    assert kept.named(Principal("acme", "k3", memory="else"), ids) == {}
    assert kept.named(STRANGER, ids) == {}


def test_where_items_are_too_large_together_the_conversations_used_longest_ago_go(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, now = KeptConversations(database), [0.0]
    monkeypatch.setattr(database.clock, "now", lambda: now[0])
    one = len('{"id": "a0"}')
    for id in ("a", "b", "a", "c"):
        now[0] += 1
        with database.transaction() as run:
            KeptConversations.begin(run, ANN, id, "notes", {}, 10)
            KeptConversations.add(run, ANN, id, [{"id": f"{id}{n}"} for n in (0, 1)], 7 * one)
    assert [id for id in "abc" if kept.one(ANN, id)] == ["a", "c"]
    assert [len(kept.items(ANN, id)) for id in "ac"] == [4, 2]
    with database.transaction() as run:
        new = [{"id": f"c{n}"} for n in range(2, 9)]
        KeptConversations.add(run, ANN, "c", new, 7 * one)
    assert kept.one(ANN, "a") is None
    assert [item["id"] for item in kept.items(ANN, "c")] == [f"c{n}" for n in range(2, 9)]
