"""Book-SORT's golden trials: prompts by hash, log-probabilities, the published code's answers."""

import csv
import gzip
import hashlib
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.booksort_folder import REAL
from tests.systems.conftest import SMALL
from tests.systems.golden import golden_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from memplus import MPlus
from memplus.data.booksort import BookSort, Excerpt, Pair
from memplus.evaluation.engine.plan import Question
from memplus.evaluation.tasks.sort import GIVEN, decided, question_of
from memplus.evaluation.tasks.sort_wordings import OPTIONS, Trial, Wording
from memplus.mplus.encoding import chat_ids
from memplus.systems.shared import Shared, log_likelihoods

_TAGS = {
    "<booktitle>": "{title}",
    "<tasktype>": "{end}",
    "<excerpt>": "{excerpt}",
    "<segments>": "{segments}",
    "<label_list[0]>": "{a}",
    "<label_list[1]>": "{b}",
}
Row = dict[str, Any]


@cache
def golden() -> Path:
    return golden_folder("sort")


@cache
def rows() -> list[Row]:
    found: list[Row] = json.loads((golden() / "scores.json").read_text())["rows"]
    return found


def ours(template: str) -> str:
    for theirs, tag in _TAGS.items():
        template = template.replace(theirs, tag)
    return template


@cache
def templates() -> dict[str, dict[str, str]]:
    found = json.loads((golden() / "templates.json").read_text())
    return {name: {part: ours(text) for part, text in one.items()} for name, one in found.items()}


@cache
def raw(name: str) -> list[Row]:
    """Rows of a published file with asterisks and line ends as they stand there."""
    if not (REAL / "booksort").is_dir():
        pytest.skip("the published data are not here")
    text = gzip.decompress((REAL / "booksort" / name).read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def published(row: Row) -> tuple[Excerpt, Pair]:
    """The texts of a golden row, with whatever stands around them."""
    size, place = row["segment_words"], (str(row["book_idx"]), str(row["excerpt_idx"]))

    def mine(one: Row) -> bool:
        return (one["book_idx"], one["excerpt_idx"]) == place

    found = next(
        one
        for one in raw(f"segments_{row['excerpt_words']}-s{size}-n110.csv.gz")
        if mine(one) and int(one["distance_bin"]) == row["distance_bin"]
    )
    pair = Pair(
        found["segment_1"],
        found["segment_2"],
        int(found["seg1_pos"]),
        int(found["seg2_pos"]),
        row["distance_bin"],
        bool(row["present_seg1_first"]),
    )
    excerpts = raw(f"excerpts_{row['excerpt_words']}-s{size}-n110.csv.gz")
    text = next(one["excerpt_text"] for one in excerpts if mine(one))
    title = BookSort(REAL / "booksort").titles[row["book_idx"]]
    return Excerpt(row["book_idx"], title, row["excerpt_idx"], text, (pair,), 2), pair


def wording_of(row: Row) -> Wording:
    parts = templates()[row["template"]]
    start = parts["model_answer_prefix"]
    return Wording(row["template"], parts["pre_excerpt"], parts["post_excerpt"], start)


def question(row: Row) -> Question:
    excerpt, pair = published(row)
    wording, shown = wording_of(row), row["in_context"]
    return question_of(excerpt, pair, wording, row["task"], GIVEN, shown=shown)


def messages(row: Row) -> list[dict[str, str]]:
    said = [{"role": "user", "content": question(row).text}]
    if row["system_prompt"]:
        trial = Trial(published(row)[0].title, shown=("", ""), end=row["task"])
        system = wording_of(row).filled(templates()[row["template"]]["system_prompt"], trial)
        said = [{"role": "system", "content": system}, *said]
    return said


@cache
def model() -> MPlus:
    folder = golden() / "model"
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return MPlus.from_backbone(stock.eval(), SMALL, tokenizer=tokenizer)


def ids_of(row: Row) -> list[int]:
    start = question(row).answer_start
    ids = chat_ids(model().tokenizer, messages(row), "golden")
    return [*ids, *(model().encode(start) if start else [])]


def test_golden_prompts_and_truths_are_the_published_ones() -> None:
    """Parts joined as they are, asterisks kept, one token for the beginning of the text."""
    tokenizer = model().tokenizer
    for row in rows():
        asked = question(row)
        text = tokenizer.apply_chat_template(
            messages(row), add_generation_prompt=True, tokenize=False
        )
        prompt = f"{text}{asked.answer_start}"
        assert prompt == row.get("prompt", prompt)
        assert hashlib.sha256(prompt.encode()).hexdigest() == row["prompt_sha256"]
        assert asked.answers == (row["ground_truth"],)
        ids = ids_of(row)
        assert len(ids) == row["prompt_tokens"]
        assert ids.count(tokenizer.bos_token_id) == 1


def test_golden_log_probabilities_and_answers() -> None:
    """All ways of naming a label come from the full distribution; taking the bare letter alone
    gives the answers of the published code."""
    shared = Shared(model)
    for row in rows():
        found = log_likelihoods(shared, None, ids_of(row), OPTIONS)
        named = dict(zip(OPTIONS, (score for score, _ in found), strict=True))
        for label in ("A", "B"):
            assert named[label] == pytest.approx(row["logprob_label"][label], abs=1e-4)
            spaced = row["logprob_space_label"][label]
            assert named[f" {label}"] == pytest.approx(spaced, abs=1e-4)
        theirs = decided(found, bare_only=True)
        assert max(theirs, key=lambda label: theirs[label]) == row["code_answer"]
        mine = decided(found)
        assert mine == {label: max(named[label], named[f" {label}"]) for label in ("A", "B")}
