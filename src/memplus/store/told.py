"""What the journals of a directory's memories tell, without any model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from memplus.memory.written_text import WrittenText
from memplus.store.directory import Directory
from memplus.store.history import has_label, held_labels, kept_commits
from memplus.store.journal import Commit, Journal
from memplus.store.manifest import Manifest

__all__ = ["Told"]

_Answer = TypeVar("_Answer")


class Told:
    """The part of a ``MemoryStore`` that asks journals.

    Args:
        directory: where the memories lie.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def history(self, name: str) -> list[Commit]:
        """The states that ``rollback`` can go back to, oldest first; needs no model.

        Raises:
            UnknownMemoryError, CorruptMemoryError, StorageError.
        """
        return self._told(name, kept_commits)

    def has_label(self, name: str, label: str) -> bool:
        """Whether a commit with that label is part of a memory; see ``StoredMemory.labelled``.

        Raises:
            ConfigError: it is no label.
            UnknownMemoryError, CorruptMemoryError, StorageError.
        """
        return self._told(name, lambda journal, manifest: has_label(journal, manifest, label))

    def held_labels(self, name: str, labels: Iterable[str]) -> set[str]:
        """Those of some labels that ``has_label`` says yes to.

        Raises:
            ConfigError: one is no label.
            UnknownMemoryError, CorruptMemoryError, StorageError.
        """
        wanted = sorted(set(labels))
        return self._told(name, lambda journal, manifest: held_labels(journal, manifest, wanted))

    def texts(self, name: str, writes: Iterable[int]) -> dict[int, WrittenText]:
        """What some writes of a memory said, by id; those that are not there are left out.

        Needs no model. ``StoredMemory.texts`` tells them of a memory that is open.

        Raises:
            UnknownMemoryError, CorruptMemoryError, StorageError.
        """
        wanted = sorted(set(writes))
        return self._told(name, lambda journal, manifest: journal.texts(wanted, manifest.writes))

    def _told(self, name: str, ask: Callable[[Journal, Manifest], _Answer]) -> _Answer:
        """What a memory's journal tells."""

        def attempt(manifest: Manifest) -> _Answer:
            journal = Journal(
                self._directory.folder(name) / manifest.journal,
                self._directory.disk,
                writable=False,
            )
            try:
                return ask(journal, manifest)
            finally:
                journal.close()

        return self._directory.retried(name, attempt)
