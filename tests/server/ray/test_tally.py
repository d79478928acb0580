from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.ray import tally as module
from memplus.server.ray.ingress import Unreachable
from memplus.server.ray.tally import SharedTally
from memplus.server.recent import RecentRequest
from memplus.server.settings import ServerSettings
from memplus.server.tally import Tally

ANN = Principal("acme", "k1")
BOUNDS = replace(ServerSettings(), requests_per_minute=3, tokens_per_minute=100)
UNBOUNDED = replace(ServerSettings(), requests_per_minute=0, tokens_per_minute=0)


class Elsewhere:
    """The other process, as far as a replica sees of it."""

    def __init__(self) -> None:
        self.tally = Tally(BOUNDS)
        self.lost = False
        self.asked: list[str] = []

    def ask(self, method: str, *given: Any) -> Any:
        self.asked.append(method)
        if self.lost:
            raise Unreachable(full=False)
        return getattr(self.tally, method)(*given)

    def replica(self, settings: ServerSettings = BOUNDS) -> SharedTally:
        return SharedTally(settings, self.ask, self.ask)


def request(id: str) -> RecentRequest:
    return RecentRequest(id, 1.0, "GET", "/v1/memories", 200, "", 0.1, "k1")


def test_a_keys_minute_is_one_whichever_replica_answers() -> None:
    elsewhere = Elsewhere()
    one, two = elsewhere.replica(), elsewhere.replica()
    assert one.admit(ANN).headers["x-ratelimit-remaining-requests"] == "2"
    assert two.admit(ANN).headers["x-ratelimit-remaining-requests"] == "1"
    two.answered(ANN, 40, request("a"))
    assert one.admit(ANN).headers["x-ratelimit-remaining-tokens"] == "60"
    refused = two.admit(ANN)
    assert refused.refusal is not None
    assert (refused.refusal.status, refused.refusal.code) == (429, "requests_per_minute")
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert two.admit(replace(ANN, key="k2")).refusal is None


def test_the_last_requests_are_those_of_all_replicas() -> None:
    elsewhere = Elsewhere()
    one, two = elsewhere.replica(), elsewhere.replica()
    for place, replica in enumerate((one, two, one)):
        replica.answered(ANN, 0, request(str(place)))
    assert [kept.id for kept in one.recent(ANN)] == ["2", "1", "0"]
    assert one.recent(ANN) == two.recent(ANN)


def test_who_has_no_bound_waits_for_nobody() -> None:
    elsewhere = Elsewhere()
    elsewhere.replica().admit(Principal())
    elsewhere.replica(UNBOUNDED).admit(ANN)
    assert elsewhere.asked == []


def test_while_the_tally_is_replaced_each_replica_counts_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = Elsewhere()
    replica = elsewhere.replica()
    elsewhere.lost = True
    for _ in range(3):
        assert replica.admit(ANN).refusal is None
    assert replica.admit(ANN).refusal is not None
    assert elsewhere.asked == ["admit"], "once is enough for a while"
    replica.answered(ANN, 40, request("a"))
    with pytest.raises(RequestFault) as refused:
        replica.recent(ANN)
    assert (refused.value.fault.status, refused.value.fault.code) == (503, "loading")
    elsewhere.lost = False
    assert replica.recent(ANN) == []
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 0.0)
    other = elsewhere.replica()
    elsewhere.lost = True
    assert other.admit(ANN).headers["x-ratelimit-remaining-requests"] == "2"
    elsewhere.lost = False
    other.admit(ANN)
    assert other.admit(ANN).headers["x-ratelimit-remaining-requests"] == "1"
