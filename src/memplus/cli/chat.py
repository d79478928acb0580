"""``memplus chat``: a conversation whose older turns live in a memory."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from memplus.cli.flags import ModelFlags, OutputFlags, WritingFlags, with_groups
from memplus.cli.output import Output, print_piece
from memplus.errors import MemplusError, StreamError

__all__ = ["chat"]


@with_groups
def chat(
    *,
    place: WritingFlags,
    window: Annotated[
        int, typer.Option("--window", min=1, help="Tokens of recent turns kept as text.")
    ] = 256,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Chat; turns that leave the window are written to the memory, which is saved at the end.

    One turn per line, until end of input or Ctrl-C. A later chat with the same memory knows what
    was said. The bundled models answer from their memory: of anything else they mostly say that
    they have no note. If the model has no chat template, a line that ends in a question mark is a
    question and any other a statement to remember; if it has one, plain statements are noted
    without a reply.
    """
    from memplus.sessions.conversation import Conversation

    out = shown.open()
    model = chosen.load()
    turns = []
    refused: BaseException | None = None
    stream = print_piece if sys.stdout.isatty() and not out.as_json else None
    with place.writing(model) as target:
        talk = Conversation(model, target, window=window)
        try:
            while line := _next_line(out):
                if not line.strip():
                    continue
                turn = talk.say(line, stream=stream)
                turns.append(turn)
                if not out.as_json:
                    shown_already = stream is not None and turn.reply
                    out.line("" if shown_already else turn.reply or "noted")
        except KeyboardInterrupt:
            out.note("")
        except (MemplusError, BrokenPipeError) as error:
            if not turns:
                raise
            refused = error  # what was said before is kept all the same
        try:
            talk.close()
        except KeyboardInterrupt as stopped:
            refused = stopped  # turns that were written before it are kept
    if refused is not None:
        raise refused
    data = {**place.place.data, "turns": [asdict(turn) for turn in turns]}
    out.result(data, show=lambda console: None)


def _next_line(out: Output) -> str:
    """One line of standard input with its end; empty at the end of the input.

    Raises:
        StreamError: the input is closed, or a folder.
    """
    if sys.stdin.isatty():
        out.notes.print("> ", end="")
    try:
        return sys.stdin.readline()
    except OSError as error:
        raise StreamError("Standard input", error) from error
