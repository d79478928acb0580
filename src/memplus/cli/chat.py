"""``memplus chat``: a conversation whose older turns live in a saved memory."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from memplus.cli.opening import Place, load_model
from memplus.cli.options import (
    AsJson,
    Device,
    Dtype,
    Id,
    MaxBytes,
    MemoryPath,
    Model,
    Ram,
    Seed,
    Store,
    Wait,
)
from memplus.cli.output import Output

__all__ = ["chat"]


def chat(
    *,
    memory: MemoryPath = None,
    store: Store = None,
    id: Id = None,
    window: Annotated[
        int, typer.Option("--window", min=1, help="Tokens of recent turns that stay text.")
    ] = 256,
    max_bytes: MaxBytes = None,
    wait: Wait = 0.0,
    ram: Ram = None,
    model: Model = "nano",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Talk; turns that leave the window go into the memory, which is saved at the end.

    One turn per line, until the end of the input or Ctrl-C. Without a chat template a line that
    ends in a question mark is asked, and any other is a statement to remember.
    """
    from memplus.sessions.conversation import Conversation

    out = Output(as_json=as_json)
    place = Place(memory, store, id, wait, ram)
    loaded = load_model(model, device=device, dtype=dtype)
    turns = []
    with place.writing(loaded, seed=seed, max_bytes=max_bytes) as target:
        talk = Conversation(loaded, target, window=window)
        try:
            while line := _next_line(out):
                if not line.strip():
                    continue
                turn = talk.say(line)
                turns.append(turn)
                if turn.reply and not as_json:
                    out.text.print(turn.reply, markup=False)
        except KeyboardInterrupt:
            out.note("")
        talk.close()
    data = {**place.data, "turns": [asdict(turn) for turn in turns]}
    out.result(data, show=lambda console: None)


def _next_line(out: Output) -> str:
    """One line of standard input with its end; empty at the end of the input."""
    if sys.stdin.isatty():
        out.notes.print("> ", end="")
    return sys.stdin.readline()
