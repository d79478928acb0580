"""What a task may know of its run, on a tiny tokenizer and made-up texts."""

from __future__ import annotations

from pathlib import Path

from tests.fakes import EOS, make_tokenizer
from tests.training.settings import write_texts

from memplus.config import PromptConfig
from memplus.training.latent.task import Surroundings
from memplus.training.tasks.spelling import TokenizerSpelling
from memplus.training.text.order import DocumentOrder
from memplus.training.text.run_config import DataConfig
from memplus.training.text.text_cache import load_documents

SEGMENT = 16


def around(
    folder: Path, share: range = range(2), batch: int = 2, longest: int = 96
) -> Surroundings:
    """Of the documents of ``write_texts``, and a prompt."""
    if not (folder / "texts.jsonl").exists():
        write_texts(folder, documents=12, words=120)
    texts = DataConfig(texts=(str(folder / "texts.jsonl"),), cache=folder / "cache", min_tokens=200)
    tokenizer = make_tokenizer()
    spelling = TokenizerSpelling(tokenizer, PromptConfig(template="<q> {question} <a>\n"), EOS)
    order = DocumentOrder(load_documents(texts, tokenizer), 5)
    return Surroundings(order, share, batch, spelling, SEGMENT, longest)
