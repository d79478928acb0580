"""Texts of a run: tokenised once, kept on disk, document by document.

The cache is one safetensors file per set of texts and tokenizer, read through the file system's
own cache: a text of billions of tokens takes no memory.

Shapes: n tokens in all, D documents.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from memplus.data.corpus import read_texts
from memplus.errors import EmptyTextError, TrainingStartError
from memplus.errors.base import storage_errors
from memplus.files import aside
from memplus.training.engine.config_file import files_of
from memplus.training.text.run_config import DataConfig, StreamConfig

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["Documents", "load_documents", "text_files", "tokenizer_fingerprint"]

_BATCH = 64
_FORMAT = "memplus-tokens-1"


class Documents:
    """Token ids of documents, cut to a range of lengths.

    Args:
        path: a cache made by ``load_documents``.
        min_tokens: shorter ones are left out.
        max_tokens: longer ones are cut into several.
        skip: so many first ones are left out.

    Raises:
        EmptyTextError: none is left.
    """

    def __init__(self, path: Path, min_tokens: int, max_tokens: int, skip: int = 0) -> None:
        self.content = path.stem
        """Tells these texts from others, as this tokenizer cuts them."""
        with storage_errors(path):
            self._file = safe_open(path, framework="pt")
        self._ids = self._file.get_slice("ids")
        offsets = self._file.get_tensor("offsets").tolist()[skip:]
        self.spans: list[tuple[int, int]] = []
        """(first token, length) of each document."""
        for begin, end in pairwise(offsets):
            for start in range(begin, end, max_tokens):
                length = min(max_tokens, end - start)
                if length >= min_tokens:
                    self.spans.append((start, length))
        if not self.spans:
            raise EmptyTextError(f"No document has {min_tokens} tokens: the training text")
        self.tokens = sum(length for _, length in self.spans)
        self.longest = max(length for _, length in self.spans)

    def __len__(self) -> int:
        return len(self.spans)

    def read(self, index: int, start: int, length: int) -> Tensor:
        """[length] ids of a document from its token ``start`` on, int64."""
        first, whole = self.spans[index]
        assert start + length <= whole, "a document ends before that"
        ids: Tensor = self._ids[first + start : first + start + length]
        return ids.long()


def text_files(patterns: Sequence[str]) -> list[Path]:
    """The files of names and patterns, in order.

    Raises:
        ConfigError: a pattern names no file.
    """
    return files_of(patterns, "data.texts")


def load_documents(
    config: DataConfig,
    tokenizer: PreTrainedTokenizerBase,
    report: Callable[[int], None] | None = None,
) -> Documents:
    """Tokenise the texts, or find what an earlier run has tokenised.

    Args:
        config: which texts.
        tokenizer: of the model.
        report: called with the number of documents tokenised so far.

    Raises:
        ConfigError, StorageError, NotTextError, EmptyTextError, UsageError, TrainingStartError.
    """
    key = hashlib.sha256(f"{_FORMAT} {tokenizer_fingerprint(tokenizer)}".encode())
    files: list[Path] = []
    if config.stream is not None:
        # A dataset is known by its name: seeing whether it changed would take reading all of it.
        key.update(repr(config.stream).encode())
    else:
        files = text_files(config.texts)
        for path in files:
            key.update(f"{path.suffixes}".encode())
            with storage_errors(path), path.open("rb") as handle:
                key.update(hashlib.file_digest(handle, "sha256").digest())
    path = config.cache / f"{key.hexdigest()[:32]}.safetensors"
    if not _is_whole(path):
        texts = read_texts(files) if config.stream is None else _stream(config.stream)
        _tokenise(path, texts, tokenizer, report)
    return Documents(path, config.min_tokens, config.max_tokens, config.skip)


def _is_whole(path: Path) -> bool:
    """Whether a cache is there and can be read: a damaged one is made anew from the texts."""
    if not path.is_file():
        return False
    try:
        with storage_errors(path), safe_open(path, framework="pt") as file:
            return {"ids", "offsets"} <= set(file.keys())
    except SafetensorError:
        return False


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Equal for tokenizers that cut every text alike."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(f"{type(tokenizer).__name__} {rules}".encode()).hexdigest()


def _tokenise(
    path: Path,
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    report: Callable[[int], None] | None,
) -> None:
    ids, offsets = array("i"), [0]
    waiting = iter(texts)
    while batch := list(islice(waiting, _BATCH)):
        for one in tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]:
            ids.extend(one)
            offsets.append(len(ids))
        if report is not None:
            report(len(offsets) - 1)
    if not ids:
        raise EmptyTextError("The training text")
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"ids": torch.frombuffer(ids, dtype=torch.int32), "offsets": torch.tensor(offsets)}
    with aside(path) as temporary:
        save_file(tensors, temporary)


def _stream(config: StreamConfig) -> Iterator[str]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        reason = "data.stream needs the datasets library: pip install datasets"
        raise TrainingStartError(reason) from error
    try:
        rows = load_dataset(config.name, config.config, split=config.split, streaming=True)
        for row in islice(rows, config.skip, config.skip + config.documents):
            yield str(row[config.field])
    except (OSError, ValueError, KeyError, ConnectionError) as error:
        raise TrainingStartError(f"the dataset {config.name} could not be read: {error}") from error
