from __future__ import annotations

from dataclasses import replace

from memplus.server.principals import Principal
from memplus.server.recent import RecentRequest
from memplus.server.settings import ServerSettings
from memplus.server.tally import Admission, Tally

ANN = Principal("acme", "k1")


def test_a_request_is_told_what_is_left_and_counted_at_its_end() -> None:
    tally = Tally(replace(ServerSettings(), requests_per_minute=2, tokens_per_minute=100))
    first = tally.admit(ANN)
    assert first.refusal is None
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    kept = RecentRequest("a", 1.0, "GET", "/v1/memories", 200, "", 0.1, "k1")
    tally.answered(ANN, 30, kept)
    assert tally.admit(ANN).headers["x-ratelimit-remaining-tokens"] == "70"
    refused = tally.admit(ANN)
    assert refused.refusal is not None
    assert refused.refusal.code == "requests_per_minute"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert tally.recent(ANN) == [kept]
    assert tally.admit(Principal()) == Admission()
