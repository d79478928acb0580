import threading
import time
from queue import Queue

import pytest
from tests.clocks import set_clock


def test_threads_that_worked_before_keep_their_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Queue[bool] = Queue()
    told: Queue[float] = Queue()

    def work() -> None:
        asked.get()
        told.put(time.time())

    before = threading.Thread(target=work)
    before.start()
    set_clock(monkeypatch, lambda: 1e13)
    asked.put(item=True)
    before.join()
    assert told.get() < 1e12
    assert time.time() == 1e13
