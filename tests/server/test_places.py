from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.server.serving import serving
from tests.server.speaking import failure

from memplus.mplus.model import MPlus
from memplus.server.places import ANYBODY, NOBODY, PROBES, Places
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore


def places(folder: Path, nano: MPlus, requests: int, keyless: int = 2) -> Places:
    settings = ServerSettings(requests=requests, keyless_requests=keyless)
    return Places(Services(MemoryStore(folder), lambda: nano, settings, model_name="nano"))


def most(among: Places, stack: ExitStack, holder: str) -> int:
    """How many places a holder gets until it is refused."""
    for count in range(1000):
        if among.refusal(holder) is not None:
            return count
        stack.enter_context(among.taken(holder))
    raise AssertionError("nothing was refused")


def test_a_key_leaves_places_for_others(tmp_path: Path, nano: MPlus) -> None:
    among = places(tmp_path, nano, requests=16)
    with ExitStack() as stack:
        assert [most(among, stack, key) for key in ("a", "b", "c", "d")] == [8, 4, 2, 1]
        assert among.refusal("e") is None
    with ExitStack() as stack:
        assert most(among, stack, "a") == 8  # all of them were given back


@pytest.mark.parametrize(("requests", "own"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_few_places_are_shared_too(tmp_path: Path, nano: MPlus, requests: int, own: int) -> None:
    with ExitStack() as stack:
        assert most(places(tmp_path, nano, requests), stack, "a") == own


def test_without_keys_nobody_can_be_told_apart(tmp_path: Path, nano: MPlus) -> None:
    with ExitStack() as stack:
        assert most(places(tmp_path, nano, requests=16), stack, ANYBODY) == 16


def test_who_has_no_key_and_what_is_always_answered_take_no_place_of_others(
    tmp_path: Path, nano: MPlus
) -> None:
    among = places(tmp_path, nano, requests=4)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(among.taken(PROBES))
        assert among.refusal(PROBES) is None
        assert most(among, stack, NOBODY) == 2
        assert most(among, stack, "a") == 2


def test_whose_place_it_is(tmp_path: Path, nano: MPlus) -> None:
    among = places(tmp_path, nano, requests=4)
    keys = among._services.keys

    def holder(*values: str) -> str:
        headers = [(b"authorization", value.encode()) for value in values]
        return asyncio.run(among.holder({"headers": headers}))

    assert holder() == holder("Bearer x") == ANYBODY
    key, secret = keys.add("ann")
    assert holder(f"Bearer {secret}") == holder(f"bearer {secret}") == key.id
    for given in ("", "Bearer", f"Bearer {secret}x", f"Basic {secret}", secret):
        assert holder(given) == NOBODY
    keys.revoke("ann")
    assert holder(f"Bearer {secret}") == holder() == NOBODY


def test_a_key_that_holds_its_share_is_told_and_others_are_served(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano, keys=True, requests=4) as served, ExitStack() as stack:
        mine, other = served.key(), served.key()
        host, port = served.url.removeprefix("http://").split(":")
        head = (
            "POST /v1/memories/a/writes HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {mine}\r\nContent-Length: 9\r\n\r\n"
        )
        for _ in range(2):
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(head.encode())
        while served.services.running_requests < 2:
            time.sleep(0.01)
        with served.client(mine) as client:
            assert failure(client.get("/v1/memories"), 503) == "overloaded"
        with served.client(other) as client:
            assert client.get("/v1/memories").is_success
