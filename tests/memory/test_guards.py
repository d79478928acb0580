"""Locks of memories: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import threading
import time

import pytest

from memplus.errors import UsageError
from memplus.memory.guards import Guards, changing, holding, reading, writing


class Kept:
    """Something with the locks of a memory."""

    def __init__(self) -> None:
        self.guards = Guards()


def free(lock: threading.RLock) -> bool:
    """Whether another thread can take a lock now."""
    found: list[bool] = []

    def run() -> None:
        found.append(lock.acquire(blocking=False))
        if found[0]:
            lock.release()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_what_each_turn_keeps_others_from() -> None:
    one, model = Kept(), threading.RLock()
    cases = {
        "writing": (writing([one]), (False, True, True)),
        "holding": (holding([one]), (True, False, True)),
        "changing": (changing(one), (False, False, True)),
        "reading": (reading(model, [one, one]), (True, False, False)),
    }
    for name, (turn, expected) in cases.items():
        with turn:
            found = (free(one.guards.writing), free(one.guards.state), free(model))
        assert found == expected, name
        assert free(one.guards.writing), name
        assert free(one.guards.state), name
        assert free(model), name


def test_a_thread_may_take_again_what_it_holds() -> None:
    one, model = Kept(), threading.RLock()
    turns = writing([one, one]), changing(one), reading(model, [one]), reading(model, [one])
    with changing(one), turns[0], turns[1], turns[2], turns[3]:
        assert not free(one.guards.state)
    assert free(one.guards.state)
    assert free(one.guards.writing)


def test_no_write_stands_inside_a_write_or_a_read_of_the_same_memory() -> None:
    one, other, model = Kept(), Kept(), threading.RLock()
    for turn in (writing([one]), reading(model, [one])):
        with turn:
            with reading(model, [one]), writing([other]):
                pass
            with pytest.raises(UsageError, match="has not returned"), writing([other, one]):
                pass
        with writing([one, other]):
            pass
    with pytest.raises(ValueError, match="left"), writing([one]):
        raise ValueError("left")
    with writing([one]):
        pass


def test_a_read_that_waits_for_a_memory_keeps_no_model() -> None:
    one, model = Kept(), threading.RLock()
    done = threading.Event()

    def read() -> None:
        with reading(model, [one]):
            done.set()

    thread = threading.Thread(target=read)
    with holding([one]):
        thread.start()
        assert not done.wait(0.1)
        deadline = time.monotonic() + 60
        while not free(model) and time.monotonic() < deadline:
            time.sleep(0.001)
        with model:  # whoever holds the memory may still need the model
            pass
    thread.join(60)
    assert done.is_set()


def test_batches_in_any_order_do_not_wait_for_each_other_for_ever() -> None:
    memories, model = [Kept() for _ in range(3)], threading.RLock()
    counts: list[int] = []

    def work(index: int) -> None:
        order = memories[index % 3 :] + memories[: index % 3]
        for _ in range(200):
            with writing(order), holding(order), model:
                pass
            with reading(model, order[::-1]):
                counts.append(index)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counts) == 8 * 200
