"""What a memory's journal tells of it, and the labels by which a caller finds its commits again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from memplus.memory.forgetting import write_ids
from memplus.memory.written_text import WrittenText
from memplus.store.committing import Committing
from memplus.store.history import (
    committed_texts,
    has_label,
    held_labels,
    kept_commits,
    labelled_write,
)
from memplus.store.journal import Commit
from memplus.store.shown import ShownMemory

__all__ = ["JournalledMemory"]


class JournalledMemory(ShownMemory):
    """A memory whose texts and commits a journal keeps."""

    committing: Committing

    def texts(self, writes: Iterable[int] | None = None) -> dict[int, WrittenText]:
        """What writes said, by id; forgotten ones are not there.

        Args:
            writes: ids; None: all.

        Raises:
            UsageError: what is given for ids is none.
            ClosedMemoryError: it is closed.
            CorruptMemoryError: the journal was changed by somebody else.
            StorageError: the disk refused to read it.
        """
        asked = range(1, len(self.writes) + 1) if writes is None else write_ids(writes)
        there = (one for one in asked if 1 <= one <= len(self.writes))
        wanted = {one for one in there if self.writes[one - 1].tokens}
        with self.committing.journal() as journal:
            self._require_open()
            return committed_texts(journal, self.keeper.manifest, wanted)

    def history(self) -> list[Commit]:
        """The states that ``rollback`` can go back to, oldest first; the last is the present.

        Raises:
            ClosedMemoryError, CorruptMemoryError, StorageError: as ``texts``.
        """
        with self.committing.journal() as journal:
            self._require_open()
            return kept_commits(journal, self.keeper.manifest)

    def has_label(self, label: str) -> bool:
        """Whether a commit of ``labelled`` is part of this memory, however long ago it was made.

        Raises:
            ConfigError: it is no label.
            ClosedMemoryError, CorruptMemoryError, StorageError: as ``texts``.
        """
        with self.committing.journal() as journal:
            self._require_open()
            return has_label(journal, self.keeper.manifest, label)

    def held_labels(self, labels: Iterable[str]) -> set[str]:
        """Those of some labels that ``has_label`` says yes to.

        Raises:
            ConfigError: one is no label.
            ClosedMemoryError, CorruptMemoryError, StorageError: as ``texts``.
        """
        with self.committing.journal() as journal:
            self._require_open()
            return held_labels(journal, self.keeper.manifest, labels)

    def labelled(self, label: str) -> AbstractContextManager[None]:
        """A block whose writes are one commit that carries a label, or nothing at all.

        ::

            with memory.labelled("4f1c"):
                model.write(memory, text, source="chat")

        The label lasts if and only if the writes do, from the moment in which the block has ended,
        whatever the store's durability. So whoever keeps a list of texts to write can go on after
        a crash at any moment: a text whose label the memory has is written, any other is not.
        ``Commit.what`` in the history is ``write 4f1c``.

        Where the block raises, or the disk refuses, the memory is what it was before it. Everything
        that is written through this handle while the block lasts belongs to it, other threads'
        writes too; a block that writes nothing commits its label alone.

        Labels stay through checkpoints, ``pack`` and ``forget``, and forks and exported files have
        those of the memory they were made of. ``rollback`` takes away the labels of what it takes
        back, and a fork's later labels are its own. A caller that must not write again what was
        rolled back on purpose notes all texts whose labels are there as done first, and lets no
        other writer roll back before that.

        Args:
            label: 1 to 200 printable characters without spaces, never used before in this memory.

        Raises:
            ConfigError: it is no label.
            UsageError: within another such block.
            ReadOnlyMemoryError: it was opened for reading, or is closed, maybe within the block.
            StorageError: the disk refused. Where it refused the very last step only, the label is
                there all the same: ask ``has_label``.
        """
        what = labelled_write(label)
        self.before_write()
        return self.committing.block(what)

    def undivided(self, label: str | None = None) -> AbstractContextManager[None]:
        """A block whose writes are one commit, or nothing at all; see ``labelled``.

        Raises:
            ConfigError, UsageError, ReadOnlyMemoryError, StorageError: as ``labelled``.
        """
        if label is not None:
            return self.labelled(label)
        self.before_write()
        return self.committing.block("write")
