from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.conftest import SENTENCES

from memplus.data.notes import make_notes
from memplus.errors import ConfigError
from memplus.mplus.bundled import BUNDLED
from memplus.mplus.model import MPlus
from memplus.training.notes.nano import NanoRun, train_nano

SMALL_RECIPE = """
memory:
  short_term_tokens: 48
  retrieved_tokens: 8
  tokens_per_write: 32
  chunk_tokens: 32
  retriever_dim: 8
architecture:
  layers: 2
  hidden: 32
  heads: 2
  feed_forward: 48
  vocabulary: 900
stages:
  - name: one chunk
    documents: 4
    questions: 2
    notes: [1]
    advance: 2.0
"""


@pytest.fixture
def run(tmp_path: Path) -> NanoRun:
    (tmp_path / "text.txt").write_text(SENTENCES * 60, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(SMALL_RECIPE, encoding="utf-8")
    texts, recipe = [tmp_path / "text.txt"], tmp_path / "recipe.yaml"
    return NanoRun(texts, tmp_path / "run", steps=2, recipe=recipe)


@pytest.mark.long
def test_a_model_trained_from_nothing_is_whole_and_small(run: NanoRun) -> None:
    trained = train_nano(run)
    model = MPlus.from_pretrained(run.out / "final")
    assert model.new_memory().short_term_rows == 48
    assert model.prompt.template == trained.prompt.template
    for one, two in zip(model.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
    memory = model.new_memory()
    model.write(memory, SENTENCES)
    assert memory.short_term_rows == 48
    assert model.ask(memory, "Who is there?").seconds > 0


@pytest.mark.long
def test_a_run_goes_on_from_its_checkpoint_and_from_a_model(run: NanoRun, tmp_path: Path) -> None:
    left = run.out / "start"  # of a run that was killed before its first checkpoint
    left.mkdir(parents=True)
    train_nano(run)
    assert not left.exists()
    kept = {file: file.read_bytes() for file in run.out.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match="--resume"):
        train_nano(replace(run, seed=7))
    assert {file: file.read_bytes() for file in run.out.rglob("*") if file.is_file()} == kept
    seen: list[int] = []
    longer = NanoRun(run.texts, run.out, steps=4, recipe=run.recipe)
    train_nano(longer, resume=True, progress=lambda now: seen.append(now.step))
    assert seen == [3, 4]
    final = run.out / "final"
    other = NanoRun(run.texts, tmp_path / "other", steps=1, recipe=run.recipe, start=final)
    started = train_nano(other)
    before = dict(MPlus.from_pretrained(final).named_parameters())
    moved = [(w - before[name]).abs().max().item() for name, w in started.named_parameters()]
    assert max(moved) < 1e-3


def test_a_model_of_other_sizes_is_no_start(run: NanoRun) -> None:
    with pytest.raises(ConfigError, match=r"start .*short_term_tokens.* differ") as caught:
        train_nano(replace(run, start=BUNDLED["nano"].path))
    assert caught.value.exit_code == 2
    assert not (run.out / "fresh").exists()


@pytest.mark.long
def test_a_run_is_not_resumed_with_other_texts_or_another_recipe(run: NanoRun) -> None:
    train_nano(run)
    with pytest.raises(ConfigError, match="seed"):
        train_nano(replace(run, seed=7, steps=3), resume=True)
    with pytest.raises(ConfigError, match="2 steps are done"):
        train_nano(replace(run, steps=1), resume=True)
    run.recipe.write_text(SMALL_RECIPE.replace("questions: 2", "questions: 3"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"stages\.0\.questions"):
        train_nano(run, resume=True)
    run.recipe.write_text(SMALL_RECIPE, encoding="utf-8")
    (text,) = run.texts
    text.write_text(SENTENCES * 61, encoding="utf-8")
    with pytest.raises(ConfigError, match="texts"):
        train_nano(run, resume=True)


@pytest.mark.long
def test_a_write_may_leave_far_fewer_rows_than_a_chunk_has_tokens(run: NanoRun) -> None:
    recipe = SMALL_RECIPE.replace("tokens_per_write: 32", "tokens_per_write: 4")
    run.recipe.write_text(recipe, encoding="utf-8")
    assert train_nano(run).new_memory().short_term_rows == 48


@pytest.mark.long
def test_episodes_made_ahead_and_other_names_train_the_same_model(
    run: NanoRun, tmp_path: Path
) -> None:
    recipe = SMALL_RECIPE.replace("stages:", "optimizing: {other_names: 0.5}\nstages:")
    run.recipe.write_text(recipe, encoding="utf-8")
    one = train_nano(run)
    other = train_nano(replace(run, out=tmp_path / "other", makers=1))
    for mine, yours in zip(one.parameters(), other.parameters(), strict=True):
        assert mine.equal(yours)


def test_a_device_that_is_not_there_is_refused_before_anything_is_read(run: NanoRun) -> None:
    with pytest.raises(ConfigError, match="device"):
        train_nano(replace(run, device="nowhere", texts=[]))


@pytest.mark.parametrize("stage", [9, -1])
def test_a_stage_that_the_recipe_lacks_is_refused_before_anything_is_read(
    run: NanoRun, stage: int
) -> None:
    with pytest.raises(ConfigError, match="the recipe's stages are 0 to"):
        train_nano(replace(run, stage=stage, texts=[]))


def test_the_bundled_model_keeps_within_its_size() -> None:
    files = [path for path in BUNDLED["nano"].path.iterdir() if path.is_file()]
    assert {"model.safetensors", "tokenizer.json", "memplus.json"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) <= 20 * 2**20


def test_what_was_never_told_is_not_known() -> None:
    model = MPlus.from_pretrained("nano")
    memory = model.new_memory()
    notes = make_notes(9, 20, "held_out")
    right = [model.ask(memory, note.question).text == note.answer for note in notes]
    assert sum(right) <= 1
