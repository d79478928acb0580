from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from memplus.config import MemoryConfig, PromptConfig
from memplus.data.corpus import Corpus, train_tokenizer
from memplus.data.notes import PROMPT_TEMPLATE
from memplus.mplus.model import MPlus
from memplus.training.engine.common_config import Architecture
from memplus.training.engine.fresh import write_fresh
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.recipe import Optimizing, Recipe, Stage

SENTENCES = (
    "The road went down to the sea. Nobody had walked there since the spring! "
    'A lantern stood by the gate. "Who is there?" asked the keeper. The wind gave no answer. '
)
SMALL = Recipe(
    MemoryConfig(
        short_term_tokens=48,
        retrieved_tokens=8,
        tokens_per_write=32,
        chunk_tokens=32,
        retriever_dim=8,
    ),
    Architecture(layers=2, hidden=32, heads=2, feed_forward=48, vocabulary=1200, positions=512),
    Optimizing(warmup=2, cooldown=2, scored=4),
    (
        Stage("one", documents=4, questions=2, notes=(1,), advance=2.0),
        Stage(
            "two", documents=4, chunks=2, group=2, questions=3, notes=(1, 2), retrieves=True,
            far=0.5, earlier=2, advance=2.0,
        ),
    ),
)  # fmt: skip


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer([SENTENCES * 20], SMALL.architecture.vocabulary)


@pytest.fixture(scope="session")
def maker(tokenizer: Tokenizer) -> EpisodeMaker:
    return EpisodeMaker(Corpus([SENTENCES * 20], tokenizer, 5000), tokenizer, SMALL)


@pytest.fixture
def model(tokenizer: Tokenizer, tmp_path: Path) -> MPlus:
    torch.manual_seed(0)
    write_fresh(tmp_path / "fresh", SMALL.architecture, tokenizer, seed=0)
    prompt = PromptConfig(template=PROMPT_TEMPLATE)
    return MPlus.from_backbone(tmp_path / "fresh", SMALL.memory, prompt=prompt)
