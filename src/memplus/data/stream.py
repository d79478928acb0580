"""A long text with notes told in it, in pieces, with the place of every note known exactly.

Text is taken sentence by sentence, each tokenised for itself, so a note stands between two
sentences and its tokens are its own. Tokens are counted by a reference tokenizer, of which only
the ends of tokens are known here: no ids, no model, no memory.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from memplus.data.notes import Note
from memplus.errors import ConfigError, EmptyTextError

__all__ = [
    "Piece",
    "Reference",
    "RunningText",
    "Stream",
    "Texts",
    "Told",
    "cut",
    "sentences_of",
    "stated_at",
]

Reference = Callable[[list[str]], list[list[int]]]
"""Texts -> the character behind each token of each, the last one being the text's end; without
special tokens."""

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
    value_end: int | None = None
    """The token after that part; None: it goes to the end."""

    @property
    def stated(self) -> tuple[int, int]:
        """The first token of the part that states the value, and the one after its last."""
        first = self.start if self.value is None else self.value
        return first, self.end if self.value_end is None else self.value_end


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of text that is tokenised by itself."""

    text: str
    ends: list[int]
    """The character behind each of its tokens."""

    def __len__(self) -> int:
        return len(self.ends)


def stated_at(told: Told, piece: Piece, values: Sequence[str]) -> Told:
    """The same place, with where the first of some values stands that stands there at all.

    Args:
        told: all of the piece.
        piece: what was told.
        values: any of them, but for case; where none stands there all of it states the value.
    """
    text = piece.text.lower()
    value = next((one.lower() for one in values if one.lower() in text), "")
    if not value:
        return told
    at = text.find(value)
    first, last = (bisect_right(piece.ends, place) for place in (at, at + len(value) - 1))
    return replace(told, value=told.start + first, value_end=told.start + last + 1)


def cut(piece: Piece, tokens: int, reference: Reference) -> tuple[list[Piece], list[Piece]] | None:
    """A piece cut in two, into pieces that are tokenised as they were in the whole.

    Args:
        piece: what to cut.
        tokens: of the first part, at least 1; it becomes longer where no text is tokenised so,
            such as inside a character of several tokens.
        reference: counts the tokens.

    Returns:
        The pieces of the two parts, one or two of each; None where it can only be left whole.
    """
    for count in range(tokens, len(piece)):
        left = _alone(piece, 0, count, reference)
        right = _alone(piece, count, len(piece), reference)
        if left and right:
            return left, right
    return None


def _alone(piece: Piece, start: int, end: int, reference: Reference) -> list[Piece]:
    """Some tokens of a piece as pieces, each tokenised by itself as it was; empty if none are.

    White space is read otherwise before a word than before nothing, so one token at the end or at
    the beginning may have to stand apart.
    """
    for middle in (end, end - 1, start + 1):
        spans = [(start, middle), (middle, end)] if start < middle < end else [(start, end)]
        parts = [_part(piece, first, last) for first, last in spans]
        if reference([part.text for part in parts]) == [part.ends for part in parts]:
            return parts
    return []


def _part(piece: Piece, start: int, end: int) -> Piece:
    before = piece.ends[start - 1] if start else 0
    ends = piece.ends[start:end]
    return Piece(piece.text[before : ends[-1]], [place - before for place in ends])


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
    """Some texts, cut into sentences whose tokens are counted once for all streams."""

    reference: Reference
    sentences: list[list[Piece]]
    """Text -> its sentences."""
    sha256: str
    """Of the texts as they were given, in their order."""

    @classmethod
    def of(cls, texts: Sequence[str], reference: Reference) -> Texts:
        """Cut texts and count their tokens.

        Raises:
            EmptyTextError: they hold no token.
        """
        found = []
        for text in texts:
            parts = list(sentences_of(text))
            pieces = [Piece(part, ends) for part, ends in zip(parts, reference(parts)) if ends]
            found += [pieces] if pieces else []
        if not found:
            raise EmptyTextError("The text to read")
        joined = "\0".join(texts).encode()
        return cls(reference, found, hashlib.sha256(joined).hexdigest())

    @property
    def tokens(self) -> int:
        """Of all texts together."""
        return sum(len(piece) for pieces in self.sentences for piece in pieces)


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
        self._sentences = [piece for sentences in order for piece in sentences]
        self._next = random.randrange(len(self._sentences))
        self.given = 0

    def take(self) -> Piece:
        """The next sentence."""
        piece = self._sentences[self._next]
        self._next = (self._next + 1) % len(self._sentences)
        self.given += len(piece)
        return piece


class Stream:
    """Pieces of text that grow by sentences and by notes told between them.

    Args:
        texts: where sentences come from.
        seed: of their order.
        source: the name under which the stream is written.

    Attributes:
        pieces: all of it so far.
        tokens: how many they have.
    """

    def __init__(self, texts: Texts, seed: int, source: str) -> None:
        self.pieces: list[Piece] = []
        self.tokens = 0
        self.source = source
        self.reference = texts.reference
        self._text = RunningText(texts, seed)

    def read(self, sentences: int) -> None:
        """Add the next sentences of the text."""
        for _ in range(sentences):
            self._add(self._text.take())

    def read_to(self, length: int) -> None:
        """Add sentences until there are at least ``length`` tokens."""
        while self.tokens < length:
            self._add(self._text.take())

    def tell(self, *notes: Note) -> list[Told]:
        """Add notes, one right after the other."""
        told = []
        stated = self.reference([f" is {note.answer}." for note in notes])
        statements = [f" {note.statement}" for note in notes]
        for text, ends, value in zip(statements, self.reference(statements), stated, strict=True):
            end = self.tokens + len(ends)
            told.append(Told(self.source, self.tokens, end, max(0, end - len(value))))
            self._add(Piece(text, ends))
        return told

    def tell_text(self, text: str) -> Told:
        """Add a text of any kind, as one piece."""
        (ends,) = self.reference([f" {text}"])
        told = Told(self.source, self.tokens, self.tokens + len(ends))
        self._add(Piece(f" {text}", ends))
        return told

    def tell_across(self, border: int, note: Note) -> Told:
        """Add sentences until the note would stand across a multiple of ``border``, then tell it.

        At least two of its tokens lie on either side, where it has that many.

        Raises:
            ConfigError: no sentence ends where it would have to.
        """
        (ends,) = self.reference([f" {note.statement}"])
        margin = min(2, len(ends) // 2)
        for _ in range(_PATIENCE):
            if margin <= border - self.tokens % border <= len(ends) - margin:
                return self.tell(note)[0]
            self._add(self._text.take())
        reason = f"no sentence ends shortly before a multiple of {border} tokens"
        raise ConfigError("texts", value=self.source, reason=reason)

    def _add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.tokens += len(piece)
