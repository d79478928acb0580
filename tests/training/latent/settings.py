"""A tiny run that learns a toy's weights on made-up text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.training.settings import write_texts

from memplus.systems.registry import SYSTEMS
from memplus.training.engine.config_file import parse_config_text
from memplus.training.latent.run_config import SystemRunConfig

BOOKS = {"task": "books", "segments": [2, 3]}
QUESTIONS = {
    "task": "questions",
    "sources": [{"kind": "statements", "weight": 3}, {"kind": "corrections"}],
    "segments": [3, 5],
    "asked": 5,
    "untold": 0.2,
    "plain": 0.2,
    "tails": 0.3,
    "tail_tokens": 12,
    "forgets": 0.3,
    "earlier": 0.3,
    "remembered": 400,
}


def register() -> None:
    """Make the toy a system; for processes of their own, where no fixture is."""
    SYSTEMS["learner"] = "tests.training.latent.toy:LearnerSystem"


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The run as plain values; each change goes into the part of that name.

    Another system's options stand alone.
    """
    made: dict[str, Any] = {
        "kind": "system",
        "system": "learner",
        "base": str(folder / "tiny"),
        "options": {"segment": 16},
        "data": {
            "texts": [str(folder / "texts.jsonl")],
            "cache": str(folder / "cache"),
            "min_tokens": 200,
        },
        "tasks": [BOOKS, QUESTIONS],
        "prompt": {"template": "<q> {question} <a>\n"},
        "optimizer": {"learning_rate": 1e-2, "warmup": 1},
        "run": {
            "out": str(folder / "run"), "steps": 6, "documents": 2, "checkpoint": 3, "report": 1,
        },
    }  # fmt: skip
    if "system" in changes:
        made["options"] = {}
    for part, values in changes.items():
        made[part] = made[part] | values if isinstance(values, dict) else values
    return made


def make_config(folder: Path, **changes: Any) -> SystemRunConfig:
    """The same, checked, with the texts that it reads."""
    if not (folder / "texts.jsonl").exists():
        write_texts(folder, documents=12, words=120)
    return parse_config_text(yaml.safe_dump(settings(folder, **changes)), SystemRunConfig)
