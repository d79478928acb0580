"""``memplus write``: text files into a memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from memplus.cli.flags import ModelFlags, OutputFlags, WritingFlags, with_groups
from memplus.cli.output import INTERRUPTED, Output
from memplus.data.documents import read_document, read_stdin
from memplus.errors import UsageError

if TYPE_CHECKING:
    from memplus.cli.place import Place
    from memplus.data.documents import Document
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus
    from memplus.sessions.reading import Reading

__all__ = ["check_size", "holdings", "show_taken", "write"]

_MUCH = 1_000_000_000
"""Bytes; a writing that takes more is announced."""
_MOST = 16_000_000_000
"""Bytes of a memory that has no limit of its own; `--max-bytes` says so in its help."""


@with_groups
def write(
    files: Annotated[list[Path], typer.Argument(help="Text files; `-` is standard input.")],
    *,
    place: WritingFlags,
    flush: Annotated[
        bool, typer.Option("--flush", help="Also write text that does not fill a chunk.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Forget what was written under the files' names, and write them again.",
        ),
    ] = False,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Read text files into a memory, creating the memory if it does not exist.

    A file that the memory already holds is skipped; one that was read in part is resumed. A memory
    file (`--memory`) is saved at the end; in a store each text is durable once it is written.
    Ctrl-C stops after the current chunk and saves; a second Ctrl-C saves nothing more.
    """
    from memplus.sessions.interrupt import stoppable
    from memplus.sessions.reading import parts_to_come, write_documents

    out = shown.open()
    documents = [read_stdin() if str(file) == "-" else read_document(file) for file in files]
    model = chosen.load()
    with stoppable() as stopped, out.progress() as report, place.writing(model) as target:
        check_size(out, model, target, parts_to_come(model, target, documents))

        def after(source: str, done: int, total: int) -> bool:
            report(source, done, total)
            return stopped()

        with _replacing(place.place, target, documents if replace else []):
            reading = write_documents(
                model, target, documents, flush=flush, replace=replace, after=after
            )
    data = {
        **place.place.data,
        "interrupted": reading.interrupted,
        "tokens": reading.tokens,
        "writes": reading.writes,
        "taken": reading.taken,
        "skipped": list(reading.skipped),
        "resumed": list(reading.resumed),
        "replaced": list(reading.replaced),
        **holdings(target),
    }
    _explain(out, reading, target)
    out.result(data, show=lambda console: show_taken(console, place.place, data))
    if reading.interrupted:
        out.note("Interrupted. What was written so far is saved; the same command resumes.")
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _replacing(place: Place, memory: Memory, documents: list[Document]) -> Iterator[None]:
    """A block that forgets what documents' names hold; what a server keeps of that goes, too."""
    from memplus.cli.place import administered
    from memplus.store import StoredMemory

    if not (documents and isinstance(memory, StoredMemory)):
        yield
        return
    sources = [document.source for document in documents]
    with administered(place.store) as opened, opened.replacing(memory, sources):
        yield


def holdings(memory: Memory) -> dict[str, int]:
    """What a memory holds now, for JSON."""
    return {
        "waiting": len(memory.tail),
        "total_tokens": memory.tokens,
        "bytes": memory.nbytes,
    }


def show_taken(console: Console, place: Place, data: Mapping[str, Any]) -> None:
    """What was taken in, and what the memory holds now, the part that is still text included."""
    taken, waiting = data["taken"], data["waiting"]
    if not taken:
        kept = "nothing new"
    elif not waiting:
        kept = f"{taken:,} tokens kept"
    elif waiting >= taken:
        kept = f"{taken:,} tokens kept (not yet compressed)"
    else:
        kept = f"{taken:,} tokens kept ({waiting} of them not yet compressed)"
    total, size = data["total_tokens"] + waiting, data["bytes"] / 1e6
    console.print(f"{kept}; {place} holds {total:,} tokens in {size:.1f} MB.", markup=False)


def check_size(out: Output, model: MPlus, memory: Memory, parts: Sequence[tuple[str, int]]) -> None:
    """Say before a large writing what it will take, and refuse one beyond the default limit.

    Args:
        out: is told.
        model: writes.
        memory: before anything is written.
        parts: (source, about how many tokens) of what is to be written, in its order.

    Raises:
        UsageError: the memory has no limit of its own, and would outgrow the default one.
    """
    from memplus.sessions.inspection import writes_to_come

    if any(tokens for _, tokens in parts):  # what is there is skipped however large it is
        writes = writes_to_come(memory, parts)
        _announce(out, model, memory, sum(tokens for _, tokens in parts), writes)
        _refuse_too_much(model, memory, int(writes))


def _announce(out: Output, model: MPlus, memory: Memory, tokens: int, writes: float) -> None:
    """Say before a large writing what it will take."""
    from memplus.memory.packing import ROWS
    from memplus.sessions.inspection import bytes_per_token

    # Of many short texts more than of one as long as all of them.
    share = writes * model.memory_config.chunk_tokens / tokens
    each = share * bytes_per_token(model, memory.rows)
    if tokens * each > _MUCH:
        narrower = ROWS[ROWS.index(memory.rows) + 1 :]
        others = " and ".join(
            f"{share * bytes_per_token(model, rows) / 1000:.1f} KB with --rows {rows}"
            for rows in narrower
        )
        out.note(
            f"About {tokens / 1e6:.1f} million tokens are to be written, which takes about "
            f"{tokens * each / 1e9:.1f} GB ({each / 1000:.1f} KB per token). --max-bytes sets a "
            "limit" + (f"; a token takes {others}." if others else ".")
        )


def _refuse_too_much(model: MPlus, memory: Memory, writes: int) -> None:
    """Keep a memory without a limit of its own within the default one, with so many writes more.

    Raises:
        UsageError: it would outgrow it; nothing was written.
    """
    from memplus.errors import BudgetError

    if memory.max_bytes is not None:
        return
    memory.max_bytes = _MOST
    try:
        memory.check_budget(writes, model.core.row_bytes(memory.rows))
    except BudgetError as error:
        needed = int(str(error.fields["needed"])) / 1e9
        raise UsageError(
            f"The memory would take about {needed:.3g} GB. Nothing was written, since "
            f"--max-bytes is {_MOST / 1e9:.3g} GB by default. Raise it, or keep rows in fewer "
            "bits (--rows)."
        ) from error
    finally:
        memory.max_bytes = None


def _explain(out: Output, reading: Reading, memory: Memory) -> None:
    """Say what was not simply written."""
    for source in reading.skipped:
        out.note(f"{source} is already in the memory; it was skipped.")
    for source in reading.resumed:
        by_number = "" if memory.keeps_text else " (judged by its token count)"
        out.note(
            f"The beginning of {source} was already in the memory{by_number}; the rest was written."
        )
    for source in reading.replaced:
        out.note(f"What was written earlier as {source} is forgotten.")
