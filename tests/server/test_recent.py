from __future__ import annotations

from memplus.server import recent as module
from memplus.server.principals import Principal
from memplus.server.recent import Recent, RecentRequest


def request(id: str, key: str = "k") -> RecentRequest:
    return RecentRequest(id, 1.0, "GET", "/v1/memories", 200, "", 0.1, key)


def test_the_newest_come_first_and_the_oldest_go() -> None:
    recent = Recent(most=3)
    for number in range(5):
        recent.add("acme", request(str(number)))
    assert [one.id for one in recent.of(Principal("acme"))] == ["4", "3", "2"]


def test_no_tenant_sees_anothers_and_no_key_another_keys() -> None:
    recent = Recent()
    recent.add("acme", request("a", "k1"))
    recent.add("acme", request("b", "k2"))
    recent.add("other", request("c", "k3"))
    reader = Principal("acme", key="k1", scopes=frozenset({"read"}))
    assert [one.id for one in recent.of(reader)] == ["a"]
    assert [one.id for one in recent.of(Principal("acme", key="k9"))] == ["b", "a"]
    assert recent.of(Principal("third")) == []


def test_the_tenants_are_bounded_too() -> None:
    recent = Recent()
    for number in range(module._MOST_TENANTS + 10):
        recent.add(f"t{number}", request("a"))
    assert recent.of(Principal("t0")) == []
    assert len(recent.of(Principal(f"t{module._MOST_TENANTS}"))) == 1
