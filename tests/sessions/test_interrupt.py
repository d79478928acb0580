import signal
import threading

import pytest

from memplus.sessions.interrupt import stoppable


def test_first_interrupt_is_an_answer_the_second_an_exception() -> None:
    with stoppable() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), stoppable():
        assert signal.getsignal(signal.SIGINT) is not before
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_changes_no_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with stoppable() as stopped:
            seen.extend([stopped(), signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, before]


def test_a_handler_that_python_does_not_know_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(signal, "getsignal", lambda number: None)
        with stoppable() as stopped, pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not stopped()
    assert signal.getsignal(signal.SIGINT) is before
