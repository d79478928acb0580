"""``memplus tell``: sentences into a memory, straight from the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from memplus.cli.flags import ModelFlags, OutputFlags, WritingFlags, with_groups
from memplus.cli.write import check_size, holdings, show_taken
from memplus.errors import EmptyTextError

__all__ = ["tell"]


@with_groups
def tell(
    texts: Annotated[list[str], typer.Argument(help="What to remember, in plain words.")],
    *,
    place: WritingFlags,
    source: Annotated[
        str, typer.Option("--source", help="Source name, by which the text can be forgotten.")
    ] = "told",
    flush: Annotated[
        bool, typer.Option("--flush", help="Also write text that does not fill a chunk.")
    ] = False,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Tell a memory something, creating the memory if it does not exist.

    Text that does not fill a chunk yet is kept as plain text; questions see it as well.
    """
    from memplus.sessions.inspection import estimated_tokens

    out = shown.open()
    for text in texts:
        if not text.strip():
            raise EmptyTextError("The text")
    model = chosen.load()
    with place.writing(model) as target:
        check_size(out, model, target, [(source, estimated_tokens(model, texts))])
        # One text of several is written whole or not at all.
        receipt = model.write(
            target, "".join(f" {text.strip()}" for text in texts), source=source, flush=flush
        )
    data = {**place.place.data, "source": source, "taken": receipt.tokens, **holdings(target)}
    out.result(data, show=lambda console: show_taken(console, place.place, data))
