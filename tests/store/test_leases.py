"""Who is seen to live, by whom, and for how long."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.test_taking import Clock

from memplus.errors import ConfigError, MemoryBusyError
from memplus.store import Lease, MemoryStore
from memplus.store.disk import Disk
from memplus.store.leases import Holder


def holder(folder: Path, name: str, seconds: float = 3600.0, margin: float = 10.0) -> Holder:
    folder.mkdir(exist_ok=True)
    return Holder(folder, Lease(name, seconds, margin, clock=Clock()), Disk())


def pass_by(seconds: float, one: Holder) -> None:
    assert isinstance(one.lease.clock, Clock)
    one.lease.clock.seconds += seconds


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Holder]:
    made = holder(tmp_path / "owners", "one")
    made.hold("alice")
    yield made
    made.let_go("alice")


def test_a_writer_lives_until_it_was_not_seen_to_renew_for_its_time_and_the_margin(
    living: Holder,
) -> None:
    two = holder(living.folder, "two")
    for _ in range(3):
        assert two.lives("one", living.session)
        pass_by(3609, two)
        assert two.lives("one", living.session)
        living._renew()
        pass_by(100, two)
    assert two.lives("one", living.session)
    pass_by(3610, two)
    assert not two.lives("one", living.session)
    two.bury("one", living.session)
    assert not two.lives("one", living.session)
    living._renew()  # it was only asleep
    assert two.lives("one", living.session)


def test_the_time_is_the_writers_own(tmp_path: Path) -> None:
    one, two = holder(tmp_path, "one", seconds=5), holder(tmp_path, "two", seconds=500)
    two.hold("bob")
    one.disk = Disk()
    assert one.lives("two", two.session)
    pass_by(400, one)
    assert one.lives("two", two.session)
    two.let_go("bob")


def test_one_that_ended_or_never_was_does_not_live(living: Holder) -> None:
    two = holder(living.folder, "two")
    assert not two.lives("one", "0" * 16)
    assert not two.lives("nobody", living.session)
    living.hold("bob")
    living.let_go("alice")
    assert two.lives("one", living.session)
    living.let_go("bob")
    assert not two.lives("one", living.session)
    assert not list(living.folder.iterdir())
    living.hold("alice")
    assert two.lives("one", living.session)


def test_another_process_under_the_same_name_ends_the_one_before(living: Holder) -> None:
    again, two = holder(living.folder, "one"), holder(living.folder, "two")
    again.hold("alice")
    assert not two.lives("one", living.session)
    assert two.lives("one", again.session)
    living.let_go("alice")  # and takes nothing away that is not its own
    assert two.lives("one", again.session)
    again.let_go("alice")
    living.hold("alice")


def test_one_process_holds_a_memory_once(living: Holder) -> None:
    with pytest.raises(MemoryBusyError):
        living.hold("alice")
    assert living.holds("alice")
    assert not living.holds("bob")


def test_it_is_renewed_three_times_in_its_time_and_no_more_at_the_end(tmp_path: Path) -> None:
    one = holder(tmp_path, "one", seconds=0.15)
    one.hold("alice")
    (file,) = tmp_path.glob("[0-9a-f]*")

    def beat() -> int:
        return int(json.loads(file.read_bytes())["beat"])

    until = time.monotonic() + 60
    while beat() < 4 and time.monotonic() < until:
        time.sleep(0.01)
    assert beat() >= 4
    one.let_go("alice")
    assert not list(tmp_path.iterdir())
    time.sleep(0.2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"session": 4}', b'{"seconds": true}'])
def test_a_file_that_tells_nothing_is_no_sign_of_life(living: Holder, content: bytes) -> None:
    two = holder(living.folder, "two")
    living._file("one").write_bytes(content)
    assert not two.lives("one", living.session)


def test_a_forked_child_is_another_writer_than_its_parent(living: Holder) -> None:
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            living.hold("bob")
            os.write(say, f"{living.session} {living.lease.owner}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    session, owner = os.read(hear, 300).decode().split()
    assert session != living.session
    assert owner != living.lease.owner
    assert holder(living.folder, "two").lives(living.lease.owner, living.session)
    os.close(hear)
    os.close(say)
    living._renew()


def test_a_store_handed_to_another_process_goes_by_another_name(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, lease=Lease("one", 77, 7))
    copy = pickle.loads(pickle.dumps(store))
    assert copy._holder.lease.owner != "one"
    assert copy._holder.lease.owner.startswith("one-")
    assert (copy._holder.lease.seconds, copy._holder.lease.margin) == (77, 7)
    assert len(Lease("x" * 200).another().owner) == 200


@pytest.mark.parametrize(
    "wrong",
    [{"owner": ""}, {"owner": "a\n"}, {"owner": "x" * 201}, {"seconds": 0}, {"seconds": 1e9},
     {"margin": -1}, {"seconds": float("nan")}],
)  # fmt: skip
def test_what_is_no_lease_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Lease(**wrong)  # type: ignore[arg-type]
    assert Lease().owner != Lease().owner
