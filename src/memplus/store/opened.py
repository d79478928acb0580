"""A memory as it is opened, read from the disk again, and closed."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from memplus.errors import (
    CorruptMemoryError,
    LeaseLostError,
    MemoryMismatchError,
    MemplusError,
    UnknownMemoryError,
)
from memplus.errors.base import storage_error
from memplus.memory.guards import changing
from memplus.memory.state import Memory, MemoryHost
from memplus.store.committing import Committing
from memplus.store.identity import check_identity, same_weights
from memplus.store.journalled import JournalledMemory
from memplus.store.keeper import Keeper
from memplus.store.locks import Right
from memplus.store.manifest import Manifest

__all__ = ["OpenedMemory"]

_ATTEMPTS = 20
_NO_WEIGHTS = -1
"""A ``weights_version`` that no model has: a tag is a hash, and Python has none of -1."""


class OpenedMemory(JournalledMemory):
    """A memory that has files open, and maybe the right to change them.

    Args:
        host: the model whose memory it is.
        keeper: has its files.
        lock: the right to change it; None: it is only read.
        window: seconds that a commit may wait.
    """

    def __init__(
        self, host: MemoryHost, keeper: Keeper, lock: Right | None, *, window: float = 0.0
    ) -> None:
        super().__init__(host.owner, 0)
        self.host = host
        self.keeper = keeper
        self.committing = Committing(self, keeper, self._recover, window=window)
        self._lock = lock
        self._closed_nbytes = None

    def require_usable(self) -> None:
        """Refuse to read rows that cannot be used.

        Raises:
            ClosedMemoryError: it is closed.
            MemoryMismatchError: the weights that made them are gone.
        """
        self._require_open()
        super().require_usable()

    def require_weights(self) -> None:
        """Refuse changes by other weights than those whose memory it is, also of an empty one.

        Raises:
            MemoryMismatchError: it says what has changed since the memory was opened.
        """
        if self.weights_version == self.owner.weights_version:
            return
        if self.stale or not same_weights(self.keeper.manifest, self.host):
            raise MemoryMismatchError(differs=self.owner.changed_since(self.weights_version))
        # They only lie elsewhere, or were put back; and no row was made meanwhile.
        self.weights_version = self.owner.weights_version

    def fork(self) -> Memory:
        """A plain memory with the same rows, going its own way; nothing it writes is kept.

        It stays usable when this one is closed. ``MemoryStore.fork`` makes one on the disk.

        Raises:
            ClosedMemoryError: it is closed.
        """
        with self.guards.state:
            self._require_open()
            return super().fork()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save as one file outside of the store; see ``Memory.save``.

        Raises:
            ClosedMemoryError: it is closed.
        """
        with self.guards.state:
            self._require_open()
            super().save(path)

    # Read from the disk -------------------------------------------------------------------------

    def reload(self) -> None:
        """Become what is on the disk now, such as what another process has written since.

        What was written here is made to last first.

        Raises:
            ClosedMemoryError: it is closed.
            UsageError: a block of ``labelled``, or a call that writes it, has not ended.
            MemoryMismatchError: the model is another one by now, or the memory is another model's;
                it stays what it was.
            UnknownMemoryError: it was deleted or moved; it stays what it was.
            StorageError, CorruptMemoryError, MemoryVersionError: what is there cannot be written or
                read. Where its files were being exchanged already, it is closed.
            LeaseLostError: another writer has taken the memory over; it is closed.
        """
        with changing(self), self.committing.lock:
            self._require_open()
            self.committing.require_no_block()
            self.committing.flush()
            try:
                self._become_present()
            except OSError as error:
                raise storage_error(self.keeper.folder.path, error) from error

    def _become_present(self) -> None:
        """Read it anew, again and again while another process changes it meanwhile."""
        folder = self.keeper.folder
        for left in reversed(range(_ATTEMPTS)):
            try:
                found = Manifest.load(folder.path)
            except FileNotFoundError as error:
                raise UnknownMemoryError(self.id, store=folder.path.parents[1]) from error
            check_identity(found, self.host, folder)
            try:
                self.keeper.reopen(found)
                self.load_kept()
                return
            except BaseException as error:
                changes = isinstance(error, FileNotFoundError | CorruptMemoryError)
                if not (left and changes and _is_another(found, folder.path)):
                    self._give_up()
                    raise

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def load_kept(self) -> None:
        """Become what the keeper's manifest says, whatever was not committed.

        Raises:
            OSError, CorruptMemoryError, MemoryVersionError: it cannot be read.
        """
        with self.committing.reloading():
            version = self.version
            weights = self.host.weights_version
            if not same_weights(self.keeper.manifest, self.host):
                # Rows of the log are now made by weights that the memory is not of.
                weights = _NO_WEIGHTS
            self.keeper.load(self, self.host.new_rows)
            self.version = max(self.version, version + 1)
            self.weights_version = weights

    def _recover(self) -> None:
        """Become what is on the disk after a refusal; where that cannot be read, be closed.

        Raises:
            LeaseLostError: another writer has taken the memory over; it is closed.
        """
        try:
            self.keeper.reopen()
            self.load_kept()
        except LeaseLostError:
            self._give_up()
            raise
        except (OSError, MemplusError):
            self._give_up()
        except BaseException:  # half of it was read, and nothing that is written would be noted
            self._give_up()
            raise

    # Closing ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Make everything last, let others write, and give up all files and rows.

        Raises:
            UsageError: a call of this thread that writes it has not returned.
            StorageError: the disk refused what was not yet written.
        """
        with changing(self):
            if self.closed:
                return
            self.committing.require_no_call()
            try:
                self.committing.flush()
            finally:
                self._give_up()

    def _give_up(self) -> None:
        if self.closed:
            return
        self._closed_nbytes = super().nbytes
        self.pool = self.long_term = None
        self.derived.clear()
        self.committing.recording = False
        try:
            self.keeper.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_another(found: Manifest, folder: Path) -> bool:
    """Whether another process has changed the memory since."""
    try:
        return Manifest.load(folder) != found
    except (OSError, MemplusError):
        return False
