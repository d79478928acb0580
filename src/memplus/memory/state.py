"""A memory: a value of its own, apart from the model that reads and writes it.

It is created pristine, written, forked, saved, loaded, dropped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from html import escape
from typing import Any, ClassVar, NoReturn, Protocol

import torch
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.errors import UsageError
from memplus.memory.contents import MemoryContents
from memplus.memory.forgetting import Forgotten, chosen_writes, forget_rows
from memplus.memory.format import load_contents, save_contents
from memplus.memory.guards import changing
from memplus.memory.packing import RowKind
from memplus.memory.records import MemoryOwner, NewRows, Passage
from memplus.memory.undoing import uninterrupted
from memplus.memory.written_text import WrittenText

__all__ = ["Memory", "MemoryHost", "require_host"]


class Memory(MemoryContents):
    """A long memory in hidden states. Made by ``MPlus.new_memory``; pass it to reads and writes.

    Threads may share one: writers take turns, text by text, and lose nothing; whoever reads, forks
    or saves it meanwhile finds it as it was after some whole chunk.

    ``copy.copy`` and ``copy.deepcopy`` fork it. What the library itself does to a memory is not
    among the names that ``dir`` lists.

    Attributes:
        config: sizes and rules.
        tail: token ids not yet written, fewer than a chunk; reads see them as ordinary text.
        tail_source: the source of the tail.
        writes: a record per write, in order.
        source_tokens: tokens written of each source.
        max_bytes: writes that would outgrow it are refused before they start; None: no limit.
        rows: how long-term rows are kept: ``exact``, ``int8``, ``int4`` or ``int2`` (``pack``).
        saved: the file that it was loaded from or saved to last.
    """

    _for_users: ClassVar[str] = (
        "config seed max_bytes writes tail tail_source source_tokens rows packed saved "
        "tokens short_term_rows long_term_rows nbytes stale keeps_text "
        "fork short_term_only save load forget texts pack"
    )
    """What ``dir`` lists."""

    def __repr__(self) -> str:
        described = ", ".join(f"{name}={value}" for name, value in self._described().items())
        return f"{type(self).__name__}({described})"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
            for name, value in self._described().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{cells}</table>"

    def _described(self) -> dict[str, object]:
        """What a person is shown of the memory, by name."""
        return {
            "tokens": self.tokens,
            "waiting": len(self.tail),
            "writes": len(self.writes),
            "short_term": self.short_term_rows,
            "long_term": self.long_term_rows,
            "nbytes": self.nbytes,
        }

    def __dir__(self) -> list[str]:
        return sorted(self._for_users.split())

    def texts(self, writes: Iterable[int] | None = None) -> Mapping[int, WrittenText]:
        """What writes said, by id (None: all of them); nothing where no text is kept."""
        return {}

    def fork(self) -> Memory:
        """The same memory, going its own way: neither sees what the other writes from here on.

        Rows are shared until one of the two writes. While the memory is being written, the fork is
        the memory after some whole chunk.
        """
        with self.guards.state:
            twin = Memory(self.owner, self.seed, self.max_bytes)
            twin.config = self.config
            twin._hold(self)
            twin.version = self.version
            return twin

    def _hold(self, other: Memory) -> None:
        """Hold what another memory holds, its place in its history included."""
        self.pool = None if other.pool is None else other.pool.fork()
        self.long_term = None if other.long_term is None else other.long_term.fork()
        self.clock = other.clock
        self.writes = list(other.writes)
        self.tail = list(other.tail)
        self.tail_source = other.tail_source
        self.tail_text = other.tail_text
        self.rows = other.rows
        self.saved = other.saved
        self.source_tokens = dict(other.source_tokens)
        self.weights_version = other.weights_version
        self.generator.set_state(other.generator.get_state())

    def undivided(self, label: str | None = None) -> AbstractContextManager[None]:
        """A block whose writes are all made, as one change, or none where it raises.

        Args:
            label: of the change, for a memory that has a history.
        """
        return self._undivided()

    @contextmanager
    def _undivided(self) -> Iterator[None]:
        before = self.fork()
        try:
            yield
        except BaseException:
            with uninterrupted(), changing(self):
                self._hold(before)
                self.derived.clear()
                self.version += 1
            raise

    def short_term_only(self) -> Memory:
        """A fork without the long-term memory: what a MemoryLLM with the same drops would hold."""
        twin = self.fork()
        twin.config = replace(self.config, retrieved_tokens=0)
        twin.long_term = None
        return twin

    def __copy__(self) -> Memory:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory:
        return self.fork()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError(
            "A memory is not pickled: save it with memory.save(path), and open it in the other "
            "process with Memory.load(path, model)."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save as one file, written aside and renamed; see ``memory.format``.

        Looks at every bit of the model's weights before, some 0.5 seconds for each gigabyte.

        Raises:
            MemoryMismatchError: the model's weights have changed since; the file would lie.
            MemoryChangedError: it was loaded from ``path``, which has been changed since.
            NotFoundError: the folder of ``path`` is missing.
            StorageError: the disk refused; an older file is intact.
        """
        with self.guards.state:
            self.owner.check_weights()
            self.require_usable()
            save_contents(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: MemoryHost) -> Memory:
        """Open a saved memory; looks at every bit of the model's weights, as ``save`` does.

        Raises:
            MemoryMismatchError: another model, adapter or config wrote it.
            NotAMemoryError, CorruptMemoryError, MemoryVersionError: the file cannot be used.
            NotFoundError, StorageError: it is not there, or cannot be read.
            UsageError: ``model`` is none, such as a model's name.
        """
        require_host(model)
        memory = model.new_memory()
        load_contents(memory, path, model.new_rows)
        return memory

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def forget(
        self,
        *,
        source: str | None = None,
        write: int | Iterable[int] | None = None,
        match: str | re.Pattern[str] | None = None,
        rebuild: bool = False,
    ) -> Forgotten:
        """Take out what some writes left: their short-term, long-term and tail rows.

        Args:
            source: everything written under this name.
            write: ids of writes.
            match: writes whose text holds this; needs a memory in a store, which keeps texts.
            rebuild: write the others again, so that no trace stays; needs a store as well.

        Raises:
            UnknownSourceError: nothing was written under that name; says which sources there are.
            UsageError: nothing is named, a write is unknown, or texts are needed and not kept.
        """
        if match is not None or rebuild:
            raise UsageError("This memory keeps no texts; open it from a store for that.")
        if source is None and write is None:
            raise UsageError("Name a source or writes to forget.")
        with changing(self):
            chosen = chosen_writes(self, source, write)
            with self._undivided():
                return forget_rows(self, chosen.writes, tail=chosen.tail)


class MemoryHost(MemoryOwner, Protocol):
    """A model as ``Memory.load`` and a store need it: what makes memories and writes them anew."""

    @property
    def owner(self) -> MemoryOwner:
        """Whose its memories are: what each of them keeps hold of."""
        ...

    @property
    def identity(self) -> Mapping[str, str]:
        """The parts of the fingerprint, and the tokenizer's, each by its name."""
        ...

    def identity_of(self, config: MemoryConfig) -> Mapping[str, str]:
        """``identity`` with the M of another config."""
        ...

    def new_memory(
        self, seed: int = 0, *, max_bytes: int | None = None, rows: RowKind | None = None
    ) -> Memory:
        """A pristine memory; see ``MPlus.new_memory``."""
        ...

    def new_rows(self, hidden: Tensor) -> NewRows:
        """What is kept of the rows [L, k, d] of one write."""
        ...

    def replay(self, memory: Memory, passages: Sequence[tuple[str, Passage]]) -> None:
        """Write passages (source, what is said) again, one chunk each."""
        ...


def require_host(model: object) -> None:
    """Refuse what is no model where one is due.

    Raises:
        UsageError: such as a model's name.
    """
    # Not by the protocol: to look at all that it lists takes a digest of the weights.
    if isinstance(model, type) or not callable(getattr(model, "new_memory", None)):
        raise UsageError(
            'The model is an MPlus, such as MPlus.from_pretrained("nano"), '
            f"not {type(model).__name__}."
        )
