"""Books as token ids, sentence by sentence, and the tokenizer that is trained on them.

Ids are flat integer arrays with sentence offsets.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from memplus.data.documents import read_document
from memplus.data.notes import ABSTENTION, PROMPT_TEMPLATE, NameSource, make_notes, notes_of
from memplus.errors import EmptyTextError, UsageError

__all__ = ["END", "PAD", "SENTENCE_END", "Corpus", "read_texts", "train_tokenizer"]

END, PAD = "<|end|>", "<|pad|>"
SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s)")
# Numbers fall into pairs of digits, so that a code of four is two tokens to copy and not five.
_WORDS = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LONGEST_SENTENCE = 90
_SAMPLE = 20_000


def read_texts(paths: Sequence[Path]) -> Iterator[str]:
    """Texts of plain files, ``.gz`` files and ``.jsonl`` files with a ``text`` field.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: a file cannot be read as text.
        UsageError: a line of a ``.jsonl`` file is not what it should be.
    """
    for path in paths:
        text = read_document(path).text
        if ".jsonl" not in path.suffixes:
            yield text
            continue
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield _text_of(line, f"line {number} of {path}")


def _text_of(line: str, place: str) -> str:
    try:
        return str(json.loads(line)["text"])
    except (ValueError, TypeError, KeyError) as error:
        reason = f"No JSON object with a text field stands in {place}."
        raise UsageError(reason) from error


def train_tokenizer(
    texts: Sequence[str], vocabulary: int, seed: int = 0, others: NameSource | None = None
) -> Tokenizer:
    """A byte-level BPE tokenizer of samples of the texts and of training notes.

    Args:
        texts: running text.
        vocabulary: tokens in all.
        seed: of the samples.
        others: whose names half of the notes are about; None makes all notes' names up.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_samples(texts, Random(seed), others), trainer)
    return tokenizer


def _samples(texts: Sequence[str], random: Random, others: NameSource | None) -> Iterator[str]:
    pairs = [f"{first:02d}{(37 * first + 11) % 100:02d}" for first in range(100)]
    for _ in range(600):
        yield " ".join(pairs)
    for seed in range(400):
        notes = make_notes(seed, 100, "train")
        if others is not None and seed % 2:
            notes = notes_of(others.draw(random, 100), seed, 100, "train")
        for note in notes:
            question = PROMPT_TEMPLATE.replace("{question}", note.question)
            yield f" {note.statement}{question} {note.answer}\n"
        yield f" {ABSTENTION}\n"
    for text in texts:
        for _ in range(6):
            start = random.randrange(max(1, len(text) - _SAMPLE))
            yield text[start : start + _SAMPLE]


class Corpus:
    """Tokenised running text, cut at sentence ends.

    Args:
        texts: what to tokenise.
        tokenizer: how.
        characters: most characters taken of each text, from its middle on.

    Raises:
        EmptyTextError: no sentence was found.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, characters: int) -> None:
        self._ids = array("H")
        self._offsets = [0]
        for text in texts:
            start = max(0, min(len(text) // 10, len(text) - characters))
            self._add(text[start : start + characters], tokenizer)
        if len(self) == 0:
            raise EmptyTextError("The training text")

    def _add(self, text: str, tokenizer: Tokenizer) -> None:
        ends = [match.end() for match in SENTENCE_END.finditer(text)]
        sentences = [text[a:b] for a, b in zip([0, *ends[:-1]], ends)]
        for encoding in tokenizer.encode_batch(sentences):
            if 2 < len(encoding.ids) < _LONGEST_SENTENCE:
                self._ids.extend(encoding.ids)
                self._offsets.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def running(self, random: Random) -> Iterator[list[int]]:
        """Consecutive sentences from a random one on, for ever."""
        index = random.randrange(len(self))
        while True:
            yield list(self._ids[self._offsets[index] : self._offsets[index + 1]])
            index = (index + 1) % len(self)
