from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.clocks import set_clock
from tests.server.serving import serving
from tests.server.speaking import FACT, ask, failure, write
from tests.server.talking import held, user

from memplus.mplus.model import MPlus
from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.rates import Rates
from memplus.server.settings import ServerSettings


def rates(**bounds: Any) -> Rates:
    return Rates(replace(ServerSettings(), **bounds))


def test_a_key_has_its_own_requests() -> None:
    limits = rates(requests_per_minute=2)
    ann, bob = Principal(key="a"), Principal(key="b")
    for _ in range(2):
        limits.enter(ann)
    with pytest.raises(RequestFault) as refused:
        limits.enter(ann)
    fault = refused.value.fault
    assert (fault.status, fault.type, fault.code) == (
        429,
        "rate_limit_error",
        "requests_per_minute",
    )
    assert 1 <= float(fault.headers["Retry-After"]) <= 60
    limits.enter(bob)
    headers = limits.headers(bob)
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert 0 < float(headers["x-ratelimit-reset-requests"].rstrip("s")) <= 60


def test_the_request_that_passes_the_bound_of_tokens_is_the_last() -> None:
    limits = rates(requests_per_minute=0, tokens_per_minute=100)
    ann = Principal(key="a")
    limits.enter(ann)
    limits.spend(ann, 90)
    assert limits.headers(ann)["x-ratelimit-remaining-tokens"] == "10"
    limits.enter(ann)
    limits.spend(ann, 50)
    assert limits.headers(ann)["x-ratelimit-remaining-tokens"] == "0"
    with pytest.raises(RequestFault) as refused:
        limits.enter(ann)
    assert refused.value.fault.code == "tokens_per_minute"


def test_without_keys_or_bounds_nobody_is_counted() -> None:
    limits = rates(requests_per_minute=1, tokens_per_minute=1)
    for _ in range(3):
        limits.enter(Principal())
        limits.spend(Principal(), 100)
    assert limits.headers(Principal()) == {}
    unbounded = rates(requests_per_minute=0, tokens_per_minute=0)
    unbounded.enter(Principal(key="a"))
    assert unbounded.headers(Principal(key="a")) == {}


def test_the_routes_say_what_is_left_and_refuse_what_is_too_much(
    tmp_path: Path, nano: MPlus
) -> None:
    bounds = {"requests_per_minute": 3, "tokens_per_minute": 10_000}
    with serving(tmp_path, nano, keys=True, **bounds) as served:
        with served.client(served.key()) as client:
            write(client)
            ask(client)
            answer = client.get("/v1/memories")
            assert answer.headers["x-ratelimit-remaining-requests"] == "0"
            assert 0 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 10_000 - 13
            refused = client.get("/v1/memories")
            assert failure(refused, 429) == "requests_per_minute"
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.headers["x-ratelimit-limit-requests"] == "3"
            assert failure(client.post("/mcp", json={}), 429) == "requests_per_minute"
            assert client.get("/health").status_code == 200
        with served.client(served.key()) as other:
            assert other.get("/v1/memories").status_code == 200


def test_tokens_of_writes_questions_and_answers_are_counted(tmp_path: Path, nano: MPlus) -> None:
    with (
        serving(tmp_path, nano, keys=True, tokens_per_minute=30) as served,
        served.client(served.key()) as client,
    ):
        tokens = write(client)["tokens"]
        usage = ask(client)["usage"]
        assert tokens + usage["total_tokens"] >= 30
        refused = client.post("/v1/memories/ann/writes", json={"text": FACT})
        assert failure(refused, 429) == "tokens_per_minute"
        assert refused.headers["x-ratelimit-remaining-tokens"] == "0"


def test_what_a_chat_writes_is_counted_once_by_the_chat_that_said_it(
    tmp_path: Path, nano: MPlus
) -> None:
    """It is written after the answer, maybe while another key's chat is answered."""
    with serving(tmp_path, nano, keys=True, tokens_per_minute=1000) as served:
        tenant = served.key()

        def left(key: str, text: str) -> int:
            with served.client(key) as client:
                body = {"model": "nano", "memory": "ann", "messages": [user(text)]}
                assert client.post("/v1/chat/completions", json=body).is_success
                held(served, "ann", served.services.keys.holder(key).tenant)  # type: ignore[union-attr]
                headers = client.get("/v1/memories").headers
                return int(headers["x-ratelimit-remaining-tokens"])

        told = "The gate in the north is red and the gate in the south is blue."
        tokens = len(nano.encode(told))
        first = left(tenant, told)
        assert 1000 - 3 * tokens < first <= 1000 - tokens
        again = left(tenant, told)  # the same chat once more: nothing of it is written
        assert first - again < tokens


def test_a_stream_that_is_left_early_counts_as_far_as_it_went(tmp_path: Path, nano: MPlus) -> None:
    body = {"model": "nano", "prompt": "Hello", "max_tokens": 3000, "temperature": 1, "seed": 3}
    with (
        serving(tmp_path, nano, keys=True, tokens_per_minute=30) as served,
        served.client(served.key()) as client,
    ):
        with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
            events = (line for line in answer.iter_lines() if line)
            for _ in range(40):
                next(events)
        end = time.monotonic() + 10
        while served.services.running_requests and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)  # it is charged right after
        refused = client.post("/v1/completions", json=body | {"max_tokens": 1})
        assert failure(refused, 429) == "tokens_per_minute"
        made = served.services.metrics.registry.get_sample_value("memplus_generation_tokens_total")
        assert made is not None
        assert 30 < made < 3000


def test_the_chances_of_a_prompt_cost_its_tokens(tmp_path: Path, nano: MPlus) -> None:
    asked = {"model": "nano", "prompt": "The gate is red. " * 8, "echo": True, "logprobs": 0}
    with (
        serving(tmp_path, nano, keys=True, tokens_per_minute=30) as served,
        served.client(served.key()) as client,
    ):
        assert client.post("/v1/completions", json=asked | {"max_tokens": 0}).is_success
        refused = client.post("/v1/completions", json=asked | {"max_tokens": 0})
        assert failure(refused, 429) == "tokens_per_minute"


def test_the_stock_client_raises_its_own_error(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, keys=True, requests_per_minute=1) as served:
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key(), max_retries=0)
        client.models.list()
        with pytest.raises(openai.RateLimitError) as refused:
            client.models.list()
        assert refused.value.code == "requests_per_minute"
        client.close()


def test_a_clock_that_is_put_back_locks_no_key_out(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, ann, now = rates(requests_per_minute=2), Principal(key="a"), [1e9]
    set_clock(monkeypatch, lambda: now[0])
    for _ in range(2):
        limits.enter(ann)
    now[0] -= 3600
    limits.enter(ann)
    assert float(limits.headers(ann)["x-ratelimit-reset-requests"].rstrip("s")) <= 60
    limits.enter(ann)
    with pytest.raises(RequestFault) as refused:
        limits.enter(ann)
    assert float(refused.value.fault.headers["Retry-After"]) <= 60
    now[0] += 1e8
    limits.enter(ann)
