"""A small stock decoder in a directory, and models with adapters over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_model, make_tokenizer, some_ids
from tests.mplus.gguf_files import entry_for, write_gguf, write_wheels

from memplus import MemoryConfig, MPlus
from memplus.mplus import bundled
from memplus.mplus.base_cache import pull
from memplus.mplus.bases import Base, known_bases

SIZES = replace(CONFIG, adapters=ADAPTERS)


def write_base(folder: Path, name: str = "llama", **options: Any) -> Path:
    """A stock decoder with its tokenizer; options are those of ``make_model``."""
    make_model(name, **options).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def over(base: Path | str, config: MemoryConfig = SIZES, *, seed: int = 0, **options: Any) -> MPlus:
    """A model over a base whose adapters and memory weights are random, none at zero."""
    made = MPlus.from_backbone(base, config, **options).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        ours = [*made.weights.named_parameters()]
        ours += [(n, w) for n, w in made.model.named_parameters() if "lora_" in n]
        for _, weight in ours:
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return made


@torch.no_grad()
def answers(model: MPlus, words: int = 256) -> torch.Tensor:
    """[1, T, V]: logits after a memory was written, so that all weights take part.

    Args:
        model: whose.
        words: how many token ids it knows.
    """
    memory = model.new_memory(seed=3)
    model.write(memory, (some_ids(75, seed=4) % words).tolist(), flush=True)
    found: torch.Tensor = model(some_ids(1, 7, seed=5) % words, memory=memory).logits
    return found


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def known_base(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    """A base model that memplus knows as ``tiny``, with a cache and bundles of this test's own.

    Its file lies in an index that pip is set up for; nothing but this machine can be reached.
    """
    monkeypatch.setenv("MEMPLUS_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "index"))
    folder.mkdir(exist_ok=True)
    write_gguf(folder / "tiny.gguf")
    base = entry_for(folder / "tiny.gguf")
    write_wheels(base, folder / "tiny.gguf", folder / "index")
    monkeypatch.setitem(known_bases(), "tiny", base)
    monkeypatch.setattr(bundled, "BUNDLES", folder / "bundles")
    return base


def ship(folder: Path) -> Path:
    """A bundle for the base model ``tiny`` where those lie that come with the package."""
    pull(known_bases()["tiny"])
    over("tiny").save_pretrained(folder / "bundles" / "tiny", base="reference")
    return folder / "bundles" / "tiny"
