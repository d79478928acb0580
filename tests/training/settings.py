"""A tiny run on made-up text, as a config; tests change what they are about."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import yaml
from tests.fakes import make_model, make_tokenizer

from memplus.training.text.run_config import TrainingConfig, parse_config

WORDS = "the road went down to sea nobody walked there since spring lantern gate wind".split()
MEMORY = {
    "short_term_tokens": 24,
    "retrieved_tokens": 0,
    "tokens_per_write": 8,
    "chunk_tokens": 10,
    "retriever_dim": 8,
}
STORE = {"retrieved_tokens": 8}
TASKS = [
    {"task": "completion", "name": "one_chunk", "full_pool": 0.0, "target_tokens": 8},
    {"task": "completion", "chunks": [2, 4], "gradient_writes": 2, "target_tokens": [6, 9]},
    {"task": "repetition", "target_tokens": 8, "unscored": 1, "instruction": "Repeat:"},
    {"task": "revisit"},
    {"task": "language", "target_tokens": 8},
]


def write_texts(folder: Path, documents: int = 30, words: int = 20) -> None:
    """A tiny decoder, and lines of JSON, a document each, of words in random order."""
    if not (folder / "tiny").exists():
        model = make_model()
        model.save_pretrained(folder / "tiny")
        make_tokenizer().save_pretrained(folder / "tiny")
    random = Random(0)
    lines = [" ".join(random.choices(WORDS, k=words)) for _ in range(documents)]
    text = "\n".join(f'{{"text": "{line}"}}' for line in lines)
    (folder / "texts.jsonl").write_text(text + "\n", encoding="utf-8")


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The run as plain values; each change goes into the part of that name."""
    made: dict[str, Any] = {
        "model": {"backbone": str(folder / "tiny"), "trainable": "all"},
        "memory": dict(MEMORY),
        "data": {
            "texts": [str(folder / "texts.jsonl")],
            "cache": str(folder / "cache"),
            "min_tokens": 30,
        },
        "tasks": TASKS,
        "run": {"out": str(folder / "run"), "steps": 6, "documents": 2, "checkpoint": 3},
        "optimizer": {"learning_rate": 1e-2, "warmup": 1},
    }
    for part, values in changes.items():
        whole = not isinstance(values, dict) or part == "model"
        made[part] = values if whole else made.get(part, {}) | values
    return made


def make_config(folder: Path, **changes: Any) -> TrainingConfig:
    """The same, checked."""
    return parse_config(yaml.safe_dump(settings(folder, **changes)))


def stored(folder: Path, **changes: Any) -> TrainingConfig:
    """With a long-term memory: a third stage."""
    run = {"stored_rows": 40} | changes.pop("run", {})
    return make_config(folder, memory=STORE, run=run, **changes)
