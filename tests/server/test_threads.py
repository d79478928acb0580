from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tests.server.serving import serving

from memplus.mplus.model import MPlus
from memplus.server.threads import divide, ended


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    divide(count)


def test_each_thread_divides_as_it_was_told() -> None:
    divide(2)
    with ThreadPoolExecutor(1, initializer=divide, initargs=(1,)) as other:
        assert other.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 2
        divide(3)
        assert other.submit(torch.get_num_threads).result() == 1


def test_a_thread_that_did_something_has_ended() -> None:
    async def named() -> threading.Thread:
        return await ended(threading.current_thread)

    thread = asyncio.run(named())
    thread.join(10)
    assert not thread.is_alive()
    assert thread is not threading.current_thread()


def test_what_goes_wrong_in_it_is_heard_of() -> None:
    async def failing() -> None:
        await ended(lambda: int("no number"))

    with pytest.raises(ValueError, match="no number"):
        asyncio.run(failing())


def test_the_engine_divides_as_the_process_was_told_to(tmp_path: Path, nano: MPlus) -> None:
    """Also where another thread has told itself otherwise before the model was there."""
    divide(2)

    def load() -> MPlus:
        with ThreadPoolExecutor(1, initializer=divide, initargs=(1,)) as other:
            other.submit(torch.get_num_threads).result()
        return nano

    with serving(tmp_path, load) as served:
        assert asyncio.run(served.services.engine.run(torch.get_num_threads)) == 2


def test_the_engine_of_a_small_model_works_undivided(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    divide(2)
    with serving(tmp_path, nano) as served:
        assert asyncio.run(served.services.engine.run(torch.get_num_threads)) == 1
