"""A plugin for the `llm` command line: a model whose memory goes on from one call to the next.

With `llm` installed, put this file into a package whose entry point `llm` names it:

    llm -m memplus "Marta Velez's locker code is 4821."
    llm -m memplus -o memory work "What is Marta Velez's locker code?"

Without it, it is a small program of its own (`pip install openai`), for a server of
`memplus serve --model nano`:

    python examples/llm_memplus.py "Marta Velez's locker code is 4821."

Where the server has keys, put one into ``MEMPLUS_KEY``; ``MEMPLUS_URL`` names another server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from openai import OpenAI

try:
    import llm
except ImportError:
    llm = None

URL = os.environ.get("MEMPLUS_URL", "http://127.0.0.1:8000")


def replies(prompt: str, *, memory: str = "llm", system: str = "", url: str = URL) -> Iterator[str]:
    """Say something to a memory, and give the reply as it comes; what was said is remembered."""
    client = OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("MEMPLUS_KEY", "none"))
    messages: Any = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    with client:
        model = client.models.list().data[0].id
        for chunk in client.chat.completions.create(
            model=model, messages=messages, stream=True, extra_headers={"X-Memory-Id": memory}
        ):
            yield from (choice.delta.content for choice in chunk.choices if choice.delta.content)


if llm is not None:

    class Memplus(llm.Model):
        """The model as `llm` knows it."""

        model_id = "memplus"
        can_stream = True

        class Options(llm.Options):
            """What stands behind `-o`."""

            memory: str = "llm"

        def execute(
            self, prompt: Any, stream: Any, response: Any, conversation: Any = None
        ) -> Iterator[str]:
            """One prompt. Earlier turns are not sent: the memory has them."""
            return replies(prompt.prompt, memory=prompt.options.memory, system=prompt.system or "")

    @llm.hookimpl
    def register_models(register: Any) -> None:
        """Make the model known."""
        register(Memplus())


if __name__ == "__main__":
    for piece in replies(" ".join(sys.argv[1:])):
        print(piece, end="", flush=True)
    print()
