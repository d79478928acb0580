"""Leases: who writes, in a directory that several machines share, and whether he still lives.

A process that writes tells so in one file of its own, again and again. Whoever wants a memory of
his looks at that file: a writer that was not seen to renew it for so long has lost its lease. Only
the looker's own steady clock is asked, and no machine's time of day. That a writer which wakes up
later does no harm is not decided here but by each commit; see ``manifest.py`` and ``taking.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from memplus.errors import ConfigError, MemoryBusyError
from memplus.store.disk import Disk, read

__all__ = ["OWNERS", "Holder", "Lease"]

OWNERS = "owners"
"""The folder of a store whose writers hold leases."""
_LONGEST_OWNER = 200
_LONGEST_TERM = 86_400.0
_RENEWALS = 3
"""How often a lease is renewed in its time."""


def _this_process() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class Lease:
    """How long a writer that is not heard of keeps its memories from others."""

    owner: str = field(default_factory=_this_process)
    """Whose they are: a name that no other living process uses. A process that is started again
    under the name of a dead one gets its memories at once."""
    seconds: float = 10.0
    """A lease lasts so long after it was renewed; it is renewed three times as often."""
    margin: float = 5.0
    """Seconds that others wait beyond it, for renewals that come or are seen late, and for clocks
    that run at different rates."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, from any beginning; only differences between its own readings count."""

    def __post_init__(self) -> None:
        named = isinstance(self.owner, str) and 0 < len(self.owner) <= _LONGEST_OWNER
        if not named or not self.owner.isprintable():
            reason = f"an owner's name has 1 to {_LONGEST_OWNER} printable characters"
            raise ConfigError("owner", value=self.owner, reason=reason)
        if not 0 < self.seconds <= _LONGEST_TERM:
            reason = f"it must be above 0 and at most {_LONGEST_TERM:.0f}"
            raise ConfigError("seconds", value=self.seconds, reason=reason)
        if not 0 <= self.margin <= _LONGEST_TERM:
            reason = f"it must be 0 to {_LONGEST_TERM:.0f}"
            raise ConfigError("margin", value=self.margin, reason=reason)

    def another(self) -> Lease:
        """The same for another process, which must not go by the same name."""
        ending = f"-{secrets.token_hex(4)}"
        return replace(self, owner=self.owner[: _LONGEST_OWNER - len(ending)] + ending)


@dataclass(frozen=True)
class _Seen:
    """The last change that was seen of a writer's file."""

    content: bytes
    since: float
    """When it had been read, by the lease's clock."""


class Holder:
    """One process among those that write to a directory.

    Args:
        folder: of the files in which writers tell that they live.
        lease: how it holds what it writes to.
        disk: makes every change.

    Attributes:
        session: what tells this object from all others: 16 hex digits.
    """

    def __init__(self, folder: Path, lease: Lease, disk: Disk) -> None:
        self.folder = folder
        self.lease = lease
        self.disk = disk
        self.session = secrets.token_hex(8)
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._beats = 0
        self._stop: threading.Event | None = None

    # What others see ----------------------------------------------------------------------------

    def hold(self, name: str) -> None:
        """Begin with a memory; from now on others see that this process lives.

        Raises:
            MemoryBusyError: another handle of this process has it.
            OSError: the disk refused.
        """
        with self._lock:
            if os.getpid() != self._process:  # a forked child is another process than its parent
                self.session, self._process = secrets.token_hex(8), os.getpid()
                self.lease = self.lease.another()  # the parent goes on with its own
                self._names, self._stop = set(), None
            if name in self._names:
                raise MemoryBusyError(name)
            if self._stop is None:
                self._renew()
                self._stop = threading.Event()
                renewing = threading.Thread(
                    target=self._go_on, args=(self._stop,), name="memplus-lease", daemon=True
                )
                renewing.start()
            self._names.add(name)

    def let_go(self, name: str) -> None:
        """Done with a memory; without any the process is seen no more."""
        with self._lock:
            self._names.discard(name)
            if self._names or self._stop is None:
                return
            self._stop.set()
            self._stop = None
            self.bury(self.lease.owner, self.session)

    def holds(self, name: str) -> bool:
        """Whether a handle of this process has that memory."""
        with self._lock:
            return name in self._names

    def _go_on(self, stop: threading.Event) -> None:
        while not stop.wait(self.lease.seconds / _RENEWALS):
            with self._lock, suppress(OSError):  # the next one may be possible
                if not stop.is_set():
                    self._renew()

    def _renew(self) -> None:
        self._beats += 1
        told = {
            "owner": self.lease.owner,
            "session": self.session,
            "beat": self._beats,
            "seconds": self.lease.seconds,
        }
        aside = self.folder / f".{self.session}"
        self.disk.put_aside(json.dumps(told).encode(), aside)
        self.disk.put_in_place(aside, self._file(self.lease.owner))

    def _file(self, owner: str) -> Path:
        return self.folder / hashlib.sha256(owner.encode()).hexdigest()[:40]

    # What is seen of others ---------------------------------------------------------------------

    def lives(self, owner: str, session: str) -> bool:
        """Whether a writer may still be at work; every call is a look at what it tells.

        It is not where it ended, where another process goes by its name now, or where looks of at
        least its seconds and this lease's margin apart saw the same.

        Raises:
            OSError: the disk refused.
        """
        # Asked before the look, and after the one that saw the last change: what lies between two
        # readings of the clock is at most what lay between two looks, however long this process
        # stood still anywhere here.
        now = self.lease.clock()
        content = self._content(owner)
        if self._session_in(content) != session:
            self._seen.pop(session, None)
            return False
        seen = self._seen.get(session)
        if seen is None or seen.content != content or now < seen.since:
            self._seen[session] = _Seen(content, self.lease.clock())
            return True
        return now - seen.since < _seconds_in(content) + self.lease.margin

    def bury(self, owner: str, session: str) -> None:
        """Remove the file of a writer that does not live; one that wakes up makes it again."""
        with suppress(OSError):
            if self._session_in(self._content(owner)) == session:
                self.disk.remove(self._file(owner))

    def _content(self, owner: str) -> bytes:
        try:
            with read(self._file(owner)) as file:
                return file.read()
        except FileNotFoundError:
            return b""

    @staticmethod
    def _session_in(content: bytes) -> str:
        found = _told(content).get("session")
        return found if isinstance(found, str) else ""


def _told(content: bytes) -> dict[str, object]:
    """What a writer's file says; nothing where it is no such file."""
    with suppress(ValueError):
        found = json.loads(content)
        if isinstance(found, dict):
            return found
    return {}


def _seconds_in(content: bytes) -> float:
    found = _told(content).get("seconds")
    ok = isinstance(found, int | float) and 0 < found <= _LONGEST_TERM
    return float(found) if ok and isinstance(found, int | float) else _LONGEST_TERM
