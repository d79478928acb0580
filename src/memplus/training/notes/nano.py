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
from memplus.data.corpus import Corpus, read_texts, train_tokenizer
from memplus.data.names import OtherNames, name_words
from memplus.data.notes import PROMPT_TEMPLATE, NameSource
from memplus.errors import ConfigError
from memplus.mplus.bundled import BUNDLED
from memplus.mplus.model import MPlus
from memplus.mplus.placement import place
from memplus.training.engine.checkpoints import require_begun
from memplus.training.engine.common_config import OptimizerConfig
from memplus.training.engine.fresh import write_fresh
from memplus.training.engine.loop import Loop, Progress
from memplus.training.engine.modes import training_mode
from memplus.training.engine.optimizers import make_optimizers
from memplus.training.engine.processes import Processes
from memplus.training.engine.same_run import content_of, describe
from memplus.training.notes.ahead import made_ahead
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.recipe import Recipe, load_recipe
from memplus.training.notes.workload import NotesWorkload, notes_pace
from memplus.training.tasks.pristine_rows import written_pristine

__all__ = ["RECIPE", "NanoRun", "train_nano"]

RECIPE = BUNDLED["nano"].path / "recipe.yaml"
_CHARACTERS = 240_000
_ANSWER_TOKENS = 16
# Below it the model says what it does not understand; on its own notes it withholds no right
# answer. `memplus eval confidence` measures the trade-off.
_MIN_CONFIDENCE = 0.6
_STORED = 512
_BETAS = (0.9, 0.98)
_FRESH, _START = "fresh", "start"


@dataclass(frozen=True)
class NanoRun:
    """What to train on, where to, and how long."""

    texts: Sequence[Path]
    """Text files, ``.gz`` and ``.jsonl`` among them."""
    out: Path
    """Folder of the run: checkpoints, ``metrics.jsonl``, the finished model in ``final``."""
    steps: int = 2500
    """Steps in all."""
    seed: int = 0
    recipe: Path = RECIPE
    start: Path | None = None
    """A model of the recipe's sizes to start from, instead of random weights."""
    stage: int = 0
    """Stage of the recipe to begin with."""
    device: str | None = None
    """Where it is trained: a torch device; None: the CPU. Episodes are made on the CPU."""
    makers: int = 0
    """Processes that make episodes ahead; with 0 each is made when its step begins."""


def train_nano(
    run: NanoRun, *, resume: bool = False, progress: Callable[[Progress], None] | None = None
) -> MPlus:
    """Train a model and write it, in 16 bits with its pristine memory, to ``run.out/final``.

    Args:
        run: what, where, how long.
        resume: continue from the checkpoint in ``run.out``.
        progress: called after every step.

    Raises:
        ConfigError: the recipe is wrong or has no such stage, the device is not to be had, or a run
            is there already.
        NotARunError: there is no checkpoint to resume from.
        EmptyTextError: the files hold no sentence.
        OSError: a file cannot be read or written.
    """
    recipe = load_recipe(run.recipe)
    if not 0 <= run.stage < len(recipe.stages):
        reason = f"the recipe's stages are 0 to {len(recipe.stages) - 1}"
        raise ConfigError("stage", value=run.stage, reason=reason)
    device = place(None, run.device, {}).device
    require_begun(run.out, resume=resume)
    texts = list(read_texts(run.texts))
    others = OtherNames(name_words(texts)) if recipe.optimizing.other_names else None
    model = _resumed(run, recipe) if resume else _begun(run, recipe, texts, others)
    model.to(device)
    folder = run.out / (_START if (run.out / _START).is_dir() else _FRESH)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    corpus = Corpus(texts, tokenizer, _CHARACTERS)
    processes = Processes(cpu=device.type == "cpu")
    maker = EpisodeMaker(corpus, tokenizer, recipe, others=others)
    with made_ahead(maker, run.makers) as source:
        workload = NotesWorkload(
            model, recipe, source, run.seed, stage=run.stage, processes=processes.count
        )
        config = OptimizerConfig("muon", recipe.optimizing.learning_rate, betas=_BETAS)
        optimizers = make_optimizers(model, config, None)
        pace = notes_pace(recipe, run.steps, run.seed)
        loop = Loop(
            workload,
            optimizers,
            run.out,
            pace,
            processes,
            description=_description(run, recipe, texts),
        )
        if resume:
            loop.resume()
        with training_mode(model, plain=True):
            loop.run(progress)
    model.to("cpu")
    ids = _running(corpus, recipe, run.seed)
    model.pristine = written_pristine(model, ids, run.seed, stored=_STORED)
    model.save_pretrained(run.out / "final", storage_dtype=torch.float16)
    return model


def _description(run: NanoRun, recipe: Recipe, texts: Sequence[str]) -> dict[str, object]:
    content = content_of(one.encode("utf-8", "surrogatepass") for one in texts)
    return describe(recipe, {"seed": run.seed, "stage": run.stage, "texts": content})


def _running(corpus: Corpus, recipe: Recipe, seed: int) -> list[int]:
    """Text enough to fill a memory: a chunk may leave more rows than it has tokens, or fewer."""
    ids: list[int] = []
    sentences = corpus.running(Random(seed))
    sizes = recipe.memory
    chunks = -(-(sizes.short_term_tokens + _STORED) // sizes.tokens_per_write)
    # What was enough for the shipped sizes stays, so that their memory is still the same.
    least = 4 * sizes.short_term_tokens + 2 * _STORED
    while len(ids) < max(least, chunks * sizes.chunk_tokens):
        ids += next(sentences)
    return ids


def _begun(run: NanoRun, recipe: Recipe, texts: Sequence[str], others: NameSource | None) -> MPlus:
    """The model of a new run; what it starts from is kept in the run's folder."""
    model = None if run.start is None else MPlus.from_pretrained(run.start)
    if model is not None and (differs := model.memory_config.differs(recipe.memory)):
        reason = f"its memory is not the recipe's: {', '.join(differs)} differ(s)"
        raise ConfigError("start", value=str(run.start), reason=reason)
    for left in (_START, _FRESH):  # of a run that ended before its first checkpoint
        shutil.rmtree(run.out / left, ignore_errors=True)
    if model is not None:
        model.pristine = type(model.pristine)()
        model.save_pretrained(run.out / _START)
        return model
    tokenizer = train_tokenizer(texts, recipe.architecture.vocabulary, run.seed, others)
    write_fresh(run.out / _FRESH, recipe.architecture, tokenizer, run.seed)
    return _fresh(run, recipe)


def _resumed(run: NanoRun, recipe: Recipe) -> MPlus:
    """What the run started from; the loop puts the checkpoint's weights in."""
    if (run.out / _START).is_dir():
        return MPlus.from_pretrained(run.out / _START)
    return _fresh(run, recipe)


def _fresh(run: NanoRun, recipe: Recipe) -> MPlus:
    torch.manual_seed(run.seed)
    prompt = PromptConfig(
        template=PROMPT_TEMPLATE, max_new_tokens=_ANSWER_TOKENS, min_confidence=_MIN_CONFIDENCE
    )
    return MPlus.from_backbone(run.out / _FRESH, recipe.memory, prompt=prompt)
