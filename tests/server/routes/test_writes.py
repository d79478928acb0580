from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server.serving import Served, serving
from tests.server.speaking import ANSWER, FACT, QUESTION, ask, failure, note, write

from memplus.mplus.model import MPlus
from memplus.store import MemoryStore


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, nano: MPlus) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("store"), nano, keys=True) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    """A client of a tenant that nobody has used before."""
    with served.client(served.key(f"t{len(served.services.keys.all())}")) as made:
        yield made


def texts(client: httpx.Client, memory: str = "ann") -> list[str]:
    page = client.get(f"/v1/memories/{memory}/writes", params={"limit": 100}).json()
    tail = [] if page["tail"] is None else [page["tail"]["text"]]
    return [one["text"] for one in page["data"]] + tail


# Writing ------------------------------------------------------------------------------------------


def test_a_write_says_what_it_did(client: httpx.Client) -> None:
    first = write(client, source="notes", flush=True)
    assert (first["memory"], first["source"], first["writes"]) == ("ann", "notes", [1])
    assert (first["waiting"], first["durable"], first["created"]) == (0, True, True)
    second = write(client, text="A tail.", source="notes")
    assert (second["writes"], second["created"], second["repeated"]) == ([], False, False)
    assert second["waiting"] == second["tokens"] > 0
    assert ask(client)["answer"] == ANSWER


def test_a_write_is_on_the_disk_when_it_is_acknowledged(nano: MPlus, tmp_path: Path) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        done = write(client, text=note(1) * 3)
        with MemoryStore(tmp_path).open("ann", nano) as memory:  # another reader
            assert [one.id for one in memory.writes] == done["writes"]
            assert len(memory.tail) == done["waiting"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"text": "a", "messages": []}, "invalid"),
        ({"text": ""}, "empty_text"),
        ({"text": " \n\t"}, "empty_text"),
        ({"messages": []}, "empty_text"),
        ({"messages": [{"role": "system", "content": "You are kind."}]}, "empty_text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "invalid"),
        ({"text": "a", "source": "x" * 501}, "invalid"),
        ({"text": "a", "metadata": {"k": 1}}, "invalid"),
        ({"text": "a", "metadata": {str(n): "v" for n in range(17)}}, "invalid"),
    ],
)
def test_what_holds_nothing_to_write_is_refused_and_makes_no_memory(
    client: httpx.Client, body: dict[str, Any], code: str
) -> None:
    assert failure(client.post("/v1/memories/ann/writes", json=body), 400) == code
    assert client.get("/v1/memories").json()["data"] == []


def test_half_a_character_is_refused_and_makes_no_memory(client: httpx.Client) -> None:
    for body in ('{"text": "a\\ud800"}', '{"text": "a", "source": "\\udfff"}'):
        answer = client.post(
            "/v1/memories/ann/writes", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400, answer.text
    assert client.get("/v1/memories").json()["data"] == []


def test_of_messages_the_turns_are_written_and_prompts_are_not(client: httpx.Client) -> None:
    messages = [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": [{"type": "text", "text": FACT}]},
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "Noted."},
    ]
    done = write(client, text=None, messages=messages)
    assert done["skipped"] == 2
    assert texts(client) == [f"{FACT}\nNoted."]
    assert ask(client)["answer"] == ANSWER


def test_a_key_makes_repeated_calls_one_write(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "4f1c"}
    first = write(client, source="notes", flush=True, headers=key)
    write(client, text="Something between.", source="notes", flush=True)
    again = write(client, source="notes", flush=True, headers=key)
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert (again["id"], again["writes"]) == (first["id"], first["writes"])
    assert len(texts(client)) == 2
    answer = client.post("/v1/memories/ann/writes", json={"text": "Other."}, headers=key)
    assert failure(answer, 409) == "idempotency_key_reused"
    assert answer.headers["x-should-retry"] == "false"
    assert len(texts(client)) == 2
    # Another memory, another write.
    assert write(client, "bob", source="notes", flush=True, headers=key)["repeated"] is False


def test_a_key_is_known_again_after_a_restart(nano: MPlus, tmp_path: Path) -> None:
    key = {"Idempotency-Key": "4f1c"}
    for expected in (False, True):
        with serving(tmp_path, nano) as served, served.client() as client:
            assert write(client, headers=key)["repeated"] is expected
    with serving(tmp_path, nano) as served, served.client() as client:
        with served.services.database.transaction() as run:
            run.execute("DELETE FROM calls")  # as where the process ended before it noted the call
        assert write(client, headers=key)["repeated"] is True
        assert texts(client) == [FACT]


def test_a_client_that_repeats_itself_without_a_key_writes_once(client: httpx.Client) -> None:
    write(client)
    again = write(client, headers={"x-stainless-retry-count": "1"})
    assert again["repeated"] is True
    assert texts(client) == [FACT]
    assert write(client, headers={"x-stainless-retry-count": "0"})["repeated"] is False
    assert texts(client) == [FACT + FACT]


def test_equal_calls_with_one_key_at_once_are_one_write(
    served: Served, client: httpx.Client
) -> None:
    key = {"Idempotency-Key": "at once"}
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: write(client, headers=key), range(4)))
    assert sorted(one["repeated"] for one in done) == [False, True, True, True]
    assert texts(client) == [FACT]


def test_writers_of_one_memory_take_turns_and_lose_nothing(client: httpx.Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda n: write(client, text=note(n), source=f"s{n}", flush=True), range(8))
        ids = [id for one in done for id in one["writes"]]
    assert len(ids) == len(set(ids))
    said = "".join(texts(client))
    assert all(note(number) in said for number in range(8))


def test_a_key_for_reading_writes_nothing(served: Served, client: httpx.Client) -> None:
    tenant = f"r{len(served.services.keys.all())}"
    with served.client(served.key(tenant)) as writer:
        write(writer)
    with served.client(served.key(tenant, scopes=("read",))) as reader:
        assert ask(reader)["answer"] == ANSWER
        for method, path, body in (
            ("POST", "/v1/memories", {"id": "new"}),
            ("POST", "/v1/memories/ann/writes", {"text": "More."}),
            ("POST", "/v1/memories/new/writes", {"text": "More."}),
            ("POST", "/v1/memories/ann/forget", {"match": "locker"}),
            ("POST", "/v1/memories/ann/rollback", {"write": 0}),
            ("POST", "/v1/memories/ann/fork", {"id": "new"}),
            ("POST", "/v1/memories:import?id=new", {}),
            ("DELETE", "/v1/memories/ann", None),
        ):
            answer = reader.request(method, path, json=body)
            assert failure(answer, 403) == "forbidden", path
        assert texts(reader) == [FACT]


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        FACT.encode(),
        b"\xef\xbb\xbf" + FACT.encode(),
        FACT.encode("utf-16"),
        gzip.compress(FACT.encode()),
    ],
    ids=["utf-8", "with a mark", "utf-16", "gzipped"],
)
def test_a_file_is_written_under_its_name(client: httpx.Client, raw: bytes) -> None:
    answer = client.post("/v1/memories/ann/files", files={"file": ("/tmp/a b.txt", raw)})
    assert answer.status_code == 201, answer.text
    assert answer.json()["source"] == "a b.txt"
    assert texts(client) == [FACT]
    more = client.post(
        "/v1/memories/bob/files", files={"file": ("a.txt", raw)},
        data={"source": "notes", "flush": "true"},
    ).json()  # fmt: skip
    assert (more["source"], more["waiting"]) == ("notes", 0)


@pytest.mark.parametrize(
    "raw",
    [b"", b" \n", b"%PDF-1.7 x", b"a\0b", b"\xff\xfe\xff", gzip.compress(b"text")[:-9]],
    ids=["empty", "blank", "pdf", "nul", "broken", "cut off"],
)
def test_a_file_that_is_no_text_is_refused_and_makes_no_memory(
    client: httpx.Client, raw: bytes
) -> None:
    answer = client.post("/v1/memories/ann/files", files={"file": ("a.txt", raw)})
    failure(answer, 400)
    assert "/tmp" not in answer.text
    assert client.get("/v1/memories").json()["data"] == []


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, body_bytes=100_000) as served, served.client() as client:
        packed = gzip.compress(b"word " * 10_000_000)
        assert len(packed) < 90_000
        answer = client.post("/v1/memories/ann/files", files={"file": ("a.gz", packed)})
        assert failure(answer, 413) == "request_too_large"


# What was written ---------------------------------------------------------------------------------


def test_what_was_written_comes_in_pages_with_its_metadata(client: httpx.Client) -> None:
    for number in range(4):
        write(
            client, text=note(number), source=f"s{number}", flush=True, metadata={"n": str(number)}
        )
    write(client, text="The tail.", source="last")
    found: list[dict[str, Any]] = []
    after, more = 0, True
    while more:
        page = client.get(f"/v1/memories/ann/writes?limit=3&after={after}").json()
        found += page["data"]
        after, more = page["last_id"], page["has_more"]
        assert (page["tail"] is None) == more
    assert page["tail"]["text"] == "The tail."
    assert [one["id"] for one in found] == list(range(1, len(found) + 1))
    assert all(one["metadata"] == {"n": one["source"][1:]} for one in found)
    joined = "".join(one["text"] for one in found)
    assert joined == "".join(note(number) for number in range(4))


def test_metadata_belongs_to_the_chunks_that_hold_some_of_its_text(client: httpx.Client) -> None:
    write(client, text=note(1), source="s", metadata={"first": "1"})
    write(client, text=note(2), source="s", metadata={"second": "2"}, flush=True)
    data = client.get("/v1/memories/ann/writes").json()["data"]
    assert data[0]["metadata"]["first"] == "1"
    assert data[-1]["metadata"] == {"second": "2"}
    for one in data:
        assert ("first" in one["metadata"]) == any(
            part in one["text"] for part in ("Shelf 1", "box 13")
        )


# Asking -------------------------------------------------------------------------------------------


def test_asking_changes_nothing_and_names_its_evidence(client: httpx.Client) -> None:
    write(client, source="notes", flush=True)
    before = client.get("/v1/memories/ann").json()
    answer = ask(client, evidence=True)
    assert (answer["answer"], answer["withheld"]) == (ANSWER, "")
    assert answer["confidence"] > 0.5
    best = answer["evidence"][0]
    assert (best["write"], best["source"], best["text"]) == (1, "notes", FACT)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert ask(client)["evidence"] is None
    after = client.get("/v1/memories/ann").json()
    assert {**after, "last_used": 0} == {**before, "last_used": 0}


def test_an_answer_that_is_not_confident_enough_is_withheld(
    client: httpx.Client, nano: MPlus
) -> None:
    write(client, text="The weather was fine.", flush=True)
    answer = ask(client, min_confidence=1.0)
    assert answer["answer"] == nano.prompt.abstention
    assert answer["withheld"]
    assert failure(
        client.post("/v1/memories/ann/ask", json={"question": "a", "min_confidence": 2}), 400
    )


@pytest.mark.parametrize("path", ["ask", "search"])
def test_a_question_that_is_empty_or_too_long_is_refused(client: httpx.Client, path: str) -> None:
    write(client)
    name = "question" if path == "ask" else "query"
    for question, codes in ((" ", {"empty_text"}), ("", {"invalid"}), ("why " * 5000, None)):
        answer = client.post(f"/v1/memories/ann/{path}", json={name: question})
        code = failure(answer, 400)
        assert codes is None or code in codes


def test_an_answer_is_as_long_as_asked_at_most(client: httpx.Client) -> None:
    write(client)
    assert ask(client, max_tokens=1)["usage"]["completion_tokens"] == 1


def test_a_search_finds_texts_in_the_tail_in_the_short_and_in_the_long_term(
    client: httpx.Client,
) -> None:
    write(client, source="facts")
    (one,) = client.post("/v1/memories/ann/search", json={"query": QUESTION}).json()["data"]
    assert (one["write"], one["text"]) == (None, FACT)  # in the tail
    write(client, text=note(0), source="other", flush=True)
    found = client.post("/v1/memories/ann/search", json={"query": QUESTION}).json()["data"]
    assert (found[0]["write"], found[0]["text"]) == (1, FACT)  # in the short term
    for number in range(1, 25):
        write(client, text=note(number), source="other", flush=True)
    found = client.post("/v1/memories/ann/search", json={"query": QUESTION, "limit": 3}).json()[
        "data"
    ]
    assert len(found) <= 3
    assert FACT in [one["text"] for one in found if one["score"] is not None]  # retrieved


def test_the_tokens_that_were_written_are_in_the_usage_of_no_question(
    client: httpx.Client,
) -> None:
    write(client, text=note(1))
    assert ask(client)["usage"]["prompt_tokens"] < 30


# Forgetting ---------------------------------------------------------------------------------------


def test_forgetting_says_first_what_it_would_do_and_then_does_it(client: httpx.Client) -> None:
    write(client, source="facts", flush=True)
    write(client, text=note(2), source="other", flush=True)
    said = client.post("/v1/memories/ann/forget", json={"source": "facts", "dry_run": True}).json()
    (gone,) = said["writes"]
    assert (said["dry_run"], said["count"], said["rows"]) == (True, 1, None)
    assert (gone["id"], gone["source"], gone["text"]) == (1, "facts", FACT)
    assert ask(client)["answer"] == ANSWER
    done = client.post("/v1/memories/ann/forget", json={"source": "facts"}).json()
    assert (done["dry_run"], done["count"], done["tokens"]) == (False, 1, said["tokens"])
    assert done["rows"] > 0
    assert done["writes"][0]["text"] is None
    assert ask(client)["answer"] != ANSWER
    assert FACT not in "".join(texts(client))


@pytest.mark.parametrize(
    "named", [{"match": "LOCKER code"}, {"write": 1}, {"write": [1]}, {"source": "facts"}]
)
def test_one_text_is_forgotten_by_words_number_or_source(
    client: httpx.Client, named: dict[str, Any]
) -> None:
    write(client, source="facts", flush=True)
    write(client, text=note(2), source="other", flush=True)
    done = client.post("/v1/memories/ann/forget", json=named).json()
    assert [one["id"] for one in done["writes"]] == [1]
    assert "".join(texts(client)) == note(2)


@pytest.mark.parametrize(
    ("named", "status", "code"),
    [
        ({}, 400, "invalid"),
        ({"source": "nothing"}, 404, "source_not_found"),
        ({"write": 99}, 400, "invalid"),
        ({"write": []}, 400, "invalid"),
        ({"match": "never said"}, 400, "invalid"),
        ({"match": ""}, 400, "invalid"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_what_is_not_there_cannot_be_forgotten(
    client: httpx.Client, named: dict[str, Any], status: int, code: str, dry: bool
) -> None:
    write(client, source="facts")
    answer = client.post("/v1/memories/ann/forget", json={**named, "dry_run": dry})
    assert failure(answer, status) == code
    assert texts(client) == [FACT]


def test_forgetting_tells_in_which_forks_the_text_remains(served: Served) -> None:
    tenant = f"f{len(served.services.keys.all())}"
    with served.client(served.key(tenant)) as client:
        write(client, flush=True)
        for fork in ("fork", "hidden"):
            client.post("/v1/memories/ann/fork", json={"id": fork})
        write(client, "apart", flush=True)  # the same words, said on their own
        everything = client.post("/v1/memories/ann/forget", json={"write": 1, "dry_run": True})
        assert everything.json()["remains_in"] == ["fork", "hidden"]
        assert everything.json()["all_checked"] is True
        with served.client(served.key(tenant, memory="a*")) as bound:
            done = bound.post("/v1/memories/ann/forget", json={"write": 1}).json()
            assert (done["remains_in"], done["remains_elsewhere"]) == ([], True)
        done = client.post("/v1/memories/fork/forget", json={"write": 1}).json()
        assert (done["remains_in"], done["remains_elsewhere"]) == (["hidden"], False)


def test_what_was_forgotten_is_nowhere_in_the_servers_own_database(
    served: Served, client: httpx.Client
) -> None:
    key = {"Idempotency-Key": "k"}
    write(client, source="facts", flush=True, metadata={"secret": "tulip"}, headers=key)
    write(client, text=note(2), source="facts", flush=True, metadata={"kept": "rose"})
    client.post("/v1/memories/ann/forget", json={"match": "locker"})
    rows = served.services.database.rows("SELECT * FROM calls")
    kept = "".join(str(tuple(row)) for row in rows)
    assert "tulip" not in kept
    assert "rose" in kept
    assert texts(client) == [note(2)] or "".join(texts(client)) == note(2)


def test_rebuilding_leaves_the_memory_that_never_heard_it(client: httpx.Client) -> None:
    write(client, source="facts", flush=True, metadata={"of": "fact"})
    write(client, text=note(2), source="facts", flush=True, metadata={"of": "note"})
    asked = {"match": "locker", "rebuild": True}
    assert client.post("/v1/memories/ann/forget", json=asked).json()["count"] == 1
    page = client.get("/v1/memories/ann/writes").json()["data"]
    assert "".join(one["text"] for one in page) == note(2)
    assert page[0]["id"] == 1
    assert all(one["metadata"] == {"of": "note"} for one in page)


def test_other_places_that_hold_the_text_are_told_to_forget_it(
    served: Served, client: httpx.Client
) -> None:
    heard: list[Any] = []

    def forget(erased: Any) -> dict[str, int]:
        heard.append(erased)
        return {"responses": 2}

    served.services.forgetters.append(forget)
    try:
        write(client, source="facts")
        client.post("/v1/memories/ann/forget", json={"match": "locker", "dry_run": True})
        assert heard == []
        done = client.post("/v1/memories/ann/forget", json={"match": "locker"}).json()
    finally:
        served.services.forgetters.remove(forget)
    assert done["also_removed"] == {"responses": 2}
    (erased,) = heard
    assert erased.stored.endswith("/ann")
    assert (erased.texts, erased.sources, erased.match) == ((FACT,), {"facts"}, "locker")
