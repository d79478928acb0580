"""mem0 on the plan: every piece of text a memory of its own, questions answered by a search.

    python benchmarks/peers/run_mem0.py runs/peers/plan.jsonl --out runs/peers/mem0.jsonl

``infer=False``: no language model decides what is kept, the text itself is. The vector store is
qdrant in a folder, the embedder is WordLlama, whose package carries its weights; nothing leaves the
machine. A search finds texts and gives no answer: what counts is whether a text that states the
answer is among the first ``--top``. ``answer.py`` lets a language model answer from them.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from environment import enter
from lines import Writer, kill_during_writes, read_plan

USER = "plan"
WIDTH = 256
"""Numbers of an embedding."""


def main() -> None:
    """Write, ask, kill, and say where the results are."""
    given = _arguments()
    enter("mem0")
    plan = read_plan(given.plan)
    if given.child_writes:
        memory = _opened(given.child_writes)
        for number, piece in enumerate(plan.pieces, start=1):
            _add(memory, piece)
            print(number, flush=True)
        return
    version = _version()
    settings = {"infer": False, "store": "qdrant in a folder", "embedder": "WordLlama 256"}
    writer = Writer(
        given.out,
        plan,
        system=f"mem0, {given.top} texts",
        by=f"mem0ai {version}",
        settings={**settings, "top": given.top},
    )
    with tempfile.TemporaryDirectory() as folder:
        each = _told_and_asked(Path(folder), given.top, plan, writer)
    with tempfile.TemporaryDirectory() as folder:
        _killed(Path(folder), given.plan, each, writer, plan.pieces)
    print(given.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/peers/mem0.jsonl"))
    parser.add_argument("--top", type=int, default=2, help="texts that a question may have")
    parser.add_argument("--child-writes", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _told_and_asked(folder: Path, top: int, plan: Any, writer: Writer) -> float:
    """Write and ask all of the plan.

    Returns:
        Seconds of a write.
    """
    memory = _opened(folder)
    writes, seconds = 0, 0.0
    for pieces, questions in plan.steps:
        for piece in pieces:
            if piece.strip():
                started = time.perf_counter()
                _add(memory, piece)
                seconds += time.perf_counter() - started
                writes += 1
        for one in questions:
            started = time.perf_counter()
            found = memory.search(
                one["question"], filters={"user_id": USER}, top_k=top, threshold=0.0
            )
            texts = [str(each["memory"]) for each in found["results"]]
            writer.asked(one["key"], time.perf_counter() - started, retrieved=texts)
    memory.vector_store.client.close()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    tokens = plan.header["tokens"]
    writer.end(writes=writes, tokens=tokens, write_seconds=seconds, nbytes=size)
    return seconds / writes


def _killed(
    folder: Path, plan: Path, each: float, writer: Writer, pieces: list[str], after: int = 20
) -> None:
    command = [sys.executable, __file__, str(plan), "--child-writes", str(folder)]
    done = kill_during_writes(command, min(after, len(pieces) - 1), each / 2)
    try:
        memory = _opened(folder)
        found = memory.get_all(filters={"user_id": USER}, top_k=len(pieces) + 1)["results"]
    except Exception as error:  # whatever it is, it is what is left
        writer.killed(done, 0, 0, f"does not open: {type(error).__name__}: {error}")
        return
    whole = sum(one["memory"] in pieces for one in found)
    writer.killed(done, whole, len(found) - whole)
    memory.vector_store.client.close()


def _opened(folder: Path) -> Any:
    """A memory in a folder, with our embedder in it."""
    os.environ.update(MEM0_TELEMETRY="False", MEM0_DIR=str(folder), OPENAI_API_KEY="never used")
    from mem0 import Memory

    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):
        memory = Memory.from_config(
            {
                "vector_store": {
                    "provider": "qdrant",
                    "config": {
                        "path": str(folder / "vectors"),
                        "collection_name": USER,
                        "embedding_model_dims": WIDTH,
                        "on_disk": True,
                    },
                },
                "history_db_path": str(folder / "history.db"),
                # Both are made, and neither is called: the embedder is replaced below, and
                # ``infer=False`` needs no language model.
                "embedder": {"provider": "openai", "config": {"embedding_dims": WIDTH}},
                "llm": {"provider": "openai", "config": {}},
            }
        )
    memory.embedding_model = _embedder()
    return memory


def _embedder() -> Any:
    import wordllama
    from mem0.embeddings.base import EmbeddingBase

    # The package looks for its own tokenizer in a folder of another name than the one it ships.
    place = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=place, disable_download=True)

    class WordLlamaEmbedding(EmbeddingBase):  # type: ignore[misc]
        """Mean of static vectors of words, of length 1."""

        def embed(self, text: str, memory_action: str | None = None) -> list[float]:
            """One text, [256]."""
            return [float(one) for one in model.embed([text], norm=True)[0]]

    return WordLlamaEmbedding()


def _add(memory: Any, piece: str) -> None:
    memory.add(piece, user_id=USER, infer=False)


def _version() -> str:
    from importlib.metadata import version

    return version("mem0ai")


if __name__ == "__main__":
    main()
