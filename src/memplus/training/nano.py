"""Training the bundled model from text files: what ``memplus train nano`` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from memplus.config import PromptConfig
from memplus.loading import BUNDLED
from memplus.model import MPlus
from memplus.notes import PROMPT_TEMPLATE
from memplus.training.corpus import Corpus, read_texts, train_tokenizer
from memplus.training.episodes import EpisodeMaker
from memplus.training.fresh import write_fresh
from memplus.training.pristine import written_pristine
from memplus.training.recipe import Recipe, load_recipe
from memplus.training.trainer import Progress, Trainer

__all__ = ["RECIPE", "NanoRun", "train_nano"]

RECIPE = BUNDLED["nano"] / "recipe.toml"
_CHARACTERS = 240_000
_ANSWER_TOKENS = 16
_STORED = 512


@dataclass(frozen=True)
class NanoRun:
    """What to train on, where to, and how long."""

    texts: Sequence[Path]
    """Text files, ``.gz`` and ``.jsonl`` among them."""
    out: Path
    """Folder of the run: checkpoints, ``log.jsonl``, and the finished model in ``final``."""
    steps: int = 6000
    """Steps in all."""
    seed: int = 0
    recipe: Path = RECIPE
    start: Path | None = None
    """A model of the recipe's sizes to go on from, instead of random weights."""
    stage: int = 0
    """Stage of the recipe to begin with."""


def train_nano(
    run: NanoRun, *, resume: bool = False, progress: Callable[[Progress], None] | None = None
) -> MPlus:
    """Train a model and write it, in 16 bits with its pristine memory, to ``run.out/final``.

    Args:
        run: what, where, how long.
        resume: go on from the checkpoint in ``run.out``.
        progress: called after every step.

    Raises:
        ConfigError: the recipe is wrong.
        EmptyTextError: the files hold no sentence.
        OSError: a file cannot be read or written.
    """
    recipe = load_recipe(run.recipe)
    texts = list(read_texts(run.texts))
    model = _model(run, recipe, texts, resume=resume)
    tokenizer = _plain_tokenizer(run.out / ("model" if resume else "fresh"))
    corpus = Corpus(texts, tokenizer, _CHARACTERS)
    maker = EpisodeMaker(corpus, tokenizer, recipe)
    trainer = Trainer(model, recipe, maker, run.out, run.seed)
    if resume:
        trainer.resume()
    else:
        trainer.state.stage = run.stage
    trainer.run(run.steps, progress)
    ids: list[int] = []
    sentences = corpus.running(Random(run.seed))
    while len(ids) < 4 * recipe.memory.short_term_tokens + 2 * _STORED:
        ids += next(sentences)
    model.pristine = written_pristine(model, ids, run.seed, stored=_STORED)
    model.save_pretrained(run.out / "final", storage_dtype=torch.float16)
    return model


def _model(run: NanoRun, recipe: Recipe, texts: Sequence[str], *, resume: bool) -> MPlus:
    if resume:
        return MPlus.from_pretrained(run.out / "model")
    torch.manual_seed(run.seed)
    fresh = run.out / "fresh"
    if run.start is not None:
        fresh.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.start / "tokenizer.json", fresh / "tokenizer.json")
        model = MPlus.from_pretrained(run.start)
        model.pristine = type(model.pristine)()
        return model
    tokenizer = train_tokenizer(texts, recipe.architecture.vocabulary, run.seed)
    write_fresh(fresh, recipe.architecture, tokenizer, run.seed)
    prompt = PromptConfig(template=PROMPT_TEMPLATE, max_new_tokens=_ANSWER_TOKENS)
    return MPlus.from_backbone(fresh, recipe.memory, prompt=prompt)


def _plain_tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
