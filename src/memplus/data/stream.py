"""A long text with notes told in it, as token ids, with the place of every note known exactly.

Text is taken sentence by sentence, each tokenised for itself, so a note stands between two
sentences and its tokens are its own. This room knows texts and tokens, no model and no memory.

Shapes: none; a stream is a flat list of token ids, a span is a pair of offsets into it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from memplus.data.notes import Note
from memplus.errors import ConfigError, EmptyTextError

__all__ = ["Encode", "Reference", "RunningText", "Stream", "Texts", "Told", "sentences_of"]

Encode = Callable[[list[str]], list[list[int]]]
"""Texts -> token ids of each, without special tokens."""

Reference = Callable[[list[str]], list[list[int]]]
"""Texts -> the character behind each token of each, without special tokens."""

# A sentence's end, or a paragraph's: documentation has stretches without full stops.
_SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s)|\S(?=\n[ \t]*\n)")

_PATIENCE = 2_000
"""Sentences to try before a place is given up."""


@dataclass(frozen=True, slots=True)
class Told:
    """Where a note stands: tokens ``start`` to ``end`` (exclusive) of its source."""

    source: str
    start: int
    end: int
    value: int | None = None
    """First token of the part that states the value; None: all of it."""


def sentences_of(text: str) -> Iterator[str]:
    """The text cut behind every sentence or paragraph; put together again it is the text."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]


@dataclass(frozen=True, slots=True)
class Texts:
    """Some texts, tokenised sentence by sentence once for all streams."""

    encode: Encode
    sentences: list[list[list[int]]]
    """Text -> its sentences -> their token ids."""
    sha256: str
    """Of the texts as they were given, in their order."""

    @classmethod
    def of(cls, texts: Sequence[str], encode: Encode) -> Texts:
        """Tokenise texts.

        Raises:
            EmptyTextError: they hold no token.
        """
        found = [[ids for ids in encode(list(sentences_of(text))) if ids] for text in texts]
        found = [sentences for sentences in found if sentences]
        if not found:
            raise EmptyTextError("The text to read")
        joined = "\0".join(texts).encode()
        return cls(encode, found, hashlib.sha256(joined).hexdigest())

    @property
    def tokens(self) -> int:
        """Of all texts together."""
        return sum(len(ids) for sentences in self.sentences for ids in sentences)


class RunningText:
    """Sentences of some texts, given out one after the other.

    The texts are put in an order, and the first one is begun at a sentence, that both follow from
    the seed. After the last sentence it goes on with the first one.

    Attributes:
        given: tokens given out so far; more than the texts have means that text was repeated.
    """

    def __init__(self, texts: Texts, seed: int) -> None:
        random = Random(seed)
        order = list(texts.sentences)
        random.shuffle(order)
        self._sentences = [ids for sentences in order for ids in sentences]
        self._next = random.randrange(len(self._sentences))
        self.given = 0

    def take(self) -> list[int]:
        """The next sentence."""
        ids = self._sentences[self._next]
        self._next = (self._next + 1) % len(self._sentences)
        self.given += len(ids)
        return ids


class Stream:
    """Token ids that grow by sentences and by notes told between them.

    Args:
        texts: where sentences come from.
        seed: of their order.
        source: the name under which the stream is written into a memory.
    """

    def __init__(self, texts: Texts, seed: int, source: str) -> None:
        self.ids: list[int] = []
        self.source = source
        self._text = RunningText(texts, seed)
        self._encode = texts.encode

    def read(self, sentences: int) -> None:
        """Add the next sentences of the text."""
        for _ in range(sentences):
            self.ids += self._text.take()

    def read_to(self, length: int) -> None:
        """Add sentences until there are at least ``length`` tokens."""
        while len(self.ids) < length:
            self.ids += self._text.take()

    def tell(self, *notes: Note) -> list[Told]:
        """Add notes, one right after the other."""
        told = []
        stated = self._encode([f" is {note.answer}." for note in notes])
        for ids, value in zip(self._encode([f" {n.statement}" for n in notes]), stated):
            end = len(self.ids) + len(ids)
            told.append(Told(self.source, len(self.ids), end, max(0, end - len(value))))
            self.ids += ids
        return told

    def tell_across(self, border: int, note: Note) -> Told:
        """Add sentences until the note would stand across a multiple of ``border``, then tell it.

        At least two of its tokens lie on either side, where it has that many.

        Raises:
            ConfigError: no sentence ends where it would have to.
        """
        (ids,) = self._encode([f" {note.statement}"])
        margin = min(2, len(ids) // 2)
        for _ in range(_PATIENCE):
            if margin <= border - len(self.ids) % border <= len(ids) - margin:
                return self.tell(note)[0]
            self.ids += self._text.take()
        reason = f"no sentence ends shortly before a multiple of {border} tokens"
        raise ConfigError("texts", value=self.source, reason=reason)
