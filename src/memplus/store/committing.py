"""When what a memory has taken in reaches the disk, and what happens where the disk refuses.

With ``window`` 0 a commit is on the disk when it returns. Otherwise a timer makes it within so many
seconds, off the call; a refusal is then told to the next caller.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from memplus.errors import ReadOnlyMemoryError, UsageError
from memplus.errors.base import storage_error
from memplus.memory.guards import changing
from memplus.memory.state import Memory
from memplus.store.journal import Journal
from memplus.store.keeper import Keeper
from memplus.store.pending import Prepared
from memplus.store.snapshot import Logged

__all__ = ["Committing"]


class Committing:
    """Makes one memory last.

    Args:
        memory: whose commits these are.
        keeper: brings them to the disk.
        recover: called after a refusal: the memory becomes what is on the disk, or is closed.
        window: seconds that a commit may wait.

    Attributes:
        lock: held while anything here changes; the timer's thread takes it too.
        recording: whether writes are noted; not while the memory is read from the disk.
        refused: what a commit, or what notes a write, has raised and no caller been told yet.
    """

    def __init__(
        self, memory: Memory, keeper: Keeper, recover: Callable[[], None], *, window: float
    ) -> None:
        self.memory = memory
        self.keeper = keeper
        self.window = window
        self.lock = threading.RLock()
        self.recording = False
        self.refused: BaseException | None = None
        self._recover = recover
        self._committed = -1
        self._held = False
        self._timer: threading.Timer | None = None
        self._since = 0.0
        self._prepared: Prepared | None = None

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """What the memory takes in inside comes from the disk."""
        self.recording = False
        yield
        self._committed = self.memory.version
        self.recording = self.keeper.writable

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside nothing is committed: what is written there is one change with what follows.

        Raises:
            OSError: the disk refused something meanwhile; or whatever else was in the way.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.refused is not None:
            error, self.refused = self.refused, None
            raise error

    @contextmanager
    def block(self, what: str) -> Iterator[None]:
        """Inside nothing is committed; its end is one commit, or nothing where it raises.

        Args:
            what: the commit is called in the history.

        Raises:
            UsageError: within another such block.
            ReadOnlyMemoryError: the memory was closed meanwhile.
            StorageError: the disk refused; the memory is what is on it.
        """
        with changing(self.memory), self.lock:
            self.require_no_block()
            self.flush()
            self._held = True
        try:
            yield
        except BaseException:
            with self._ended():
                failed, self.refused = self.refused is not None, None
                if self.recording and (failed or self.memory.version != self._committed):
                    self._recover()
            raise
        with self._ended():
            if not self.recording:
                name = self.keeper.manifest.id
                raise ReadOnlyMemoryError(name, reason="it was closed before the block had ended")
            self.raise_refused()
            self.change_disk(lambda: self.keeper.commit(self.memory, what))

    @contextmanager
    def _ended(self) -> Iterator[None]:
        with changing(self.memory), self.lock:
            self._held = False
            yield

    def require_no_block(self) -> None:
        """Refuse what would commit in the middle of a block, or of a call.

        Raises:
            UsageError: there is one.
        """
        if self._held:
            raise UsageError("A block of `labelled` has not ended yet; its end is one commit.")
        self.require_no_call()

    def require_no_call(self) -> None:
        """Refuse what would commit half of a call, or take half of it back.

        Raises:
            UsageError: a call of this thread, whose callback this is, has written a part.
        """
        if self.within_call and not self._held and self.memory.version != self._committed:
            raise UsageError(
                "This memory is being written by a call that this thread has not returned from; "
                "what it writes is one commit."
            )

    @property
    def within_call(self) -> bool:
        """Whether this thread is inside a call that writes the memory."""
        return self.memory.guards.writer == threading.get_ident()

    def record(self, written: Logged) -> None:
        """Note what a write made; a refusal of the disk is told by the commit.

        Raises:
            BaseException: whatever else was in the way; the commit takes the whole call back.
        """
        with self.lock:
            if self.refused is not None:
                return
            try:
                self.keeper.record(self.memory, written)
            except BaseException as error:
                self._commit_prepared()  # earlier calls have returned, and do not go with this one
                self.refused = self.refused or error
                if not isinstance(error, OSError):
                    raise

    def commit(self) -> None:
        """Make what was written last, now or within the window.

        Raises:
            StorageError: the disk refused; the memory is what is on it.
        """
        with self.lock:
            if self._held:
                return
            self.raise_refused()
            if self.memory.version == self._committed:
                return
            overdue = self._since and time.monotonic() - self._since >= self.window
            if self.window and not overdue and not self.keeper.must_checkpoint:
                self._commit_later()
            else:
                self.flush()

    def flush(self) -> None:
        """Make everything last now; in a block, its end does so.

        Raises:
            StorageError: the disk refused; the memory is what is on it.
        """
        with self.lock:
            if self._held:
                return
            self.raise_refused()
            unchanged = self.memory.version == self._committed and self._timer is None
            if self.recording and not unchanged:
                self.change_disk(lambda: self.keeper.commit(self.memory))
                self._cancel_timer()

    def flush_calls(self) -> None:
        """Make the calls last that have returned, while another one goes on.

        Raises:
            StorageError: the disk refused; the call that goes on is told so, too.
        """
        with self.lock:
            if self._held:
                return
            self._commit_prepared()
            if self.refused is not None:  # left there: nothing is taken back within a call
                self._tell(self.refused)

    def change_disk(self, change: Callable[[], None]) -> None:
        """Make a change that brings the disk to the memory's state.

        Raises:
            StorageError: the disk refused; the memory is what is on it.
        """
        with self.lock:
            try:
                change()
            except OSError as error:
                self.refused = error
                self.raise_refused()
            except BaseException:
                self.refused = None
                self._cancel_timer()
                self._recover()
                raise
            self._committed = self.memory.version

    def raise_refused(self) -> None:
        """Tell what was in the way since the last call, once the memory is what is on the disk.

        Raises:
            StorageError: the disk refused something.
            LeaseLostError: another writer has taken the memory over; it is closed.
            BaseException: whatever else it was.
        """
        with self.lock:
            if self.refused is None or self._held:
                return
            error, self.refused = self.refused, None
            self._cancel_timer()
            self._recover()
            self._tell(error)

    def _tell(self, error: BaseException) -> NoReturn:
        if isinstance(error, OSError):
            raise storage_error(self.keeper.folder.path, error) from error
        raise error

    def require_held(self) -> None:
        """Refuse what could not be committed, as far as that is known already.

        Raises:
            LeaseLostError: another writer has taken the memory over; it is closed.
        """
        with self.lock:
            if self.keeper.lost:
                self._cancel_timer()
                self._recover()

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """The journal, to be read while no timer writes to it.

        Raises:
            StorageError: the disk refused.
        """
        with self.lock:
            try:
                yield self.keeper.journal
            except OSError as error:
                raise storage_error(self.keeper.folder.path, error) from error

    def _commit_later(self) -> None:
        """Let a timer write what is fixed here; the memory may change meanwhile."""
        self._prepared = self.keeper.pending.prepared(self.memory)
        self._committed = self.memory.version
        if self._timer is None:
            self._since = time.monotonic()
            self._timer = threading.Timer(self.window, self._commit_in_time)
            self._timer.daemon = False  # whatever thread writes: the program's end waits for it
            try:
                self._timer.start()
            except RuntimeError:  # the system gives no more threads
                self.flush()

    def _commit_in_time(self) -> None:
        self._commit_prepared()
        refused = self.refused
        if refused is not None and not threading.main_thread().is_alive():
            self._tell(refused)  # the program ends: maybe nobody calls any more who could be told

    def _commit_prepared(self) -> None:
        with self.lock:
            if self._timer is None or self.refused is not None:
                return
            prepared = self._prepared
            assert prepared is not None
            self._cancel_timer()
            try:
                self.keeper.commit_prepared(prepared)
            except BaseException as error:
                self.refused = error

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._since, self._prepared = None, 0.0, None
