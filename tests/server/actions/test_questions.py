from __future__ import annotations

import httpx
import pytest
from tests.server.speaking import ANSWER, FACT, QUESTION, ask, failure, note, write

from memplus.mplus.model import MPlus


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
