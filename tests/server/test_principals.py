from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memplus.errors import ConfigError
from memplus.server.principals import Principal, check_tenant

NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)
TENANTS = NAMES.map(lambda text: text.replace("/", "_"))


@given(TENANTS | st.just(""), NAMES)
def test_a_name_that_is_seen_leads_back_to_itself(tenant: str, name: str) -> None:
    who = Principal(tenant)
    assert who.sees(name) == ("/" not in name and name not in (".", ".."))
    if who.sees(name):
        assert who.named(who.stored(name)) == name


@given(TENANTS | st.just(""), TENANTS | st.just(""), NAMES, NAMES)
def test_no_two_tenants_reach_the_same_memory(one: str, other: str, a: str, b: str) -> None:
    first, second = Principal(one), Principal(other)
    if first.sees(a) and second.sees(b) and one != other:
        assert first.stored(a) != second.stored(b)
        assert second.named(first.stored(a)) is None


@pytest.mark.parametrize(
    ("memory", "seen", "unseen"),
    [
        ("", ["a", "ab", "...", ".a"], ["", ".", "..", "x/y"]),
        ("a", ["a"], ["ab", "", "b"]),
        ("a*", ["a", "ab"], ["b", "A", "", "a/b"]),
    ],
)
def test_a_key_sees_its_own_names_only(memory: str, seen: list[str], unseen: list[str]) -> None:
    who = Principal("t", memory=memory)
    assert [name for name in [*seen, *unseen] if who.sees(name)] == seen
    assert all(who.named(f"t/{name}") is None for name in unseen)


def test_a_larger_scope_holds_the_smaller_ones() -> None:
    admin, reader = Principal(scopes=frozenset({"admin"})), Principal(scopes=frozenset({"read"}))
    assert admin.may("read")
    assert admin.may("write")
    assert not reader.may("write")
    assert not Principal(scopes=frozenset({"write"})).may("admin")


@pytest.mark.parametrize("tenant", ["a/b", "a\nb", "x" * 65])
def test_no_tenant_is_called_so(tenant: str) -> None:
    with pytest.raises(ConfigError):
        check_tenant(tenant)
