"""A tiny run that learns an adapter on made-up examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.fakes import make_model, make_tokenizer

from memplus.training.engine.config_file import parse_config_text
from memplus.training.masked.run_config import AdapterRunConfig

PROSE = "It rained for days on end. Nobody came to the gate, and the keeper slept! Who was it? "


def write_base(folder: Path) -> Path:
    """A tiny decoder with room for long examples, and prose."""
    model = make_model(changes={"max_position_embeddings": 2048})
    model.save_pretrained(folder / "tiny")
    make_tokenizer().save_pretrained(folder / "tiny")
    (folder / "prose.txt").write_text(PROSE * 5)
    (folder / "more.txt").write_text(PROSE * 5)
    return folder / "tiny"


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The run as plain values; each change goes into the part of that name."""
    made: dict[str, Any] = {
        "kind": "adapter",
        "base": str(folder / "tiny"),
        "adapter": {"rank": 2, "alpha": 4},
        "examples": [{"kind": "ret_llm", "texts": [str(folder / "*.txt")]}],
        "optimizer": {"learning_rate": 1e-2, "warmup": 1},
        "run": {
            "out": str(folder / "run"), "steps": 4, "examples": 3, "row_tokens": 400,
            "checkpoint": 2, "report": 1,
        },
    }  # fmt: skip
    for part, values in changes.items():
        made[part] = made[part] | values if isinstance(values, dict) else values
    return made


def make_config(folder: Path, **changes: Any) -> AdapterRunConfig:
    """The same, checked."""
    return parse_config_text(yaml.safe_dump(settings(folder, **changes)), AdapterRunConfig)
