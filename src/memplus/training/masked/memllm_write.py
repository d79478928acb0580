"""Examples of MemLLM's write adapter: a sentence and the triples that it says (2404.11672, 3.3).

The text before the sentence and the sentence are given; the call is learned, from ``({`` to the end
of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from memplus.config import require
from memplus.data.corpus import read_texts
from memplus.data.sentences import split_sentences
from memplus.systems.memllm.annotated import Document
from memplus.systems.memllm.grammar import END, START, write_call, write_prompt
from memplus.systems.memllm.write_examples import WriteExample, write_examples
from memplus.training.engine.config_file import files_of
from memplus.training.masked.example import Example, ExampleKind, ExampleMaker, Piece
from memplus.training.masked.memllm_documents import DocumentSources, Told, annotated

__all__ = ["HELD_OUT_TEXTS", "MemLLMWrites", "plain_sentences", "shortened", "write_pieces"]

HELD_OUT_TEXTS = 10
"""Every so many texts of prose is left out, the first one on: false writes are counted there."""
_LONGEST = 300
"""Characters of a sentence of prose."""


@dataclass(frozen=True, kw_only=True)
class MemLLMWrites(ExampleKind):
    """An entry ``{kind: memllm_write, ...}``."""

    kind: ClassVar[str] = "memllm_write"

    articles: str = ""
    """JSON of 2WikiMultihopQA's articles; without it there are none."""
    stories: str = ""
    """The archive of bAbI; without it there are no stories."""
    texts: tuple[str, ...] = ()
    """Prose whose sentences hold nothing: files or patterns."""
    nothing: float = 0.25
    """Share of examples with nothing to write, where there is prose."""
    made_up: float = 0.6
    """Of the others, the share that is made up."""
    told: float = 0.12
    """Of the others, the share of stories; what is left are articles."""
    before: int = 240
    """Characters of the text before a sentence, at most; whole sentences."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("nothing", "made_up", "told"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "it is a share")
        require(self.made_up + self.told <= 1, "told", self.told, "with made_up it is above 1")
        require(self.before >= 0, "before", self.before, "at least 0")

    def maker(self) -> ExampleMaker:
        """See ``ExampleKind.maker``."""
        prose = plain_sentences(self.texts)
        found = DocumentSources(articles=self.articles, stories=self.stories, prose=prose)
        return _Maker(self, found)


def plain_sentences(patterns: Sequence[str], *, held_out: bool = False) -> tuple[str, ...]:
    """Sentences of the texts of a split, blanks made single.

    Raises:
        ConfigError: a pattern names no file.
    """
    files = files_of(patterns, "texts")
    texts = [
        one for i, one in enumerate(read_texts(files)) if (i % HELD_OUT_TEXTS == 0) == held_out
    ]
    found = (" ".join(text[a:b].split()) for text in texts for a, b in split_sentences(text))
    return tuple(one for one in found if 2 < len(one) <= _LONGEST)


def write_pieces(example: WriteExample, before: int) -> tuple[Piece, ...]:
    """An example as a text to learn from.

    Args:
        example: of an annotated document.
        before: characters of the text before it, at most.
    """
    prompt = write_prompt(shortened(example.before, before), example.focus)
    call = Piece(START, learned=True), Piece(write_call(example.triples), learned=True)
    return Piece(prompt), *call, Piece(END, learned=True)


def shortened(text: str, most: int) -> str:
    """The last whole sentences of a text, of at most so many characters."""
    starts = [start for start, _ in split_sentences(text)]
    return next((text[start:] for start in starts if len(text) - start <= most), "")


@dataclass(frozen=True)
class _Maker:
    """Draws examples of a config."""

    config: MemLLMWrites
    sources: DocumentSources

    def make(self, index: int, random: Random) -> Example:
        """See ``ExampleMaker.make``."""
        if self.sources.prose and random.random() < self.config.nothing:
            return self._nothing(random)
        share = random.random()
        if share < self.config.told and self.sources.told:
            return self._written("story", annotated(self.sources.story(random)), random)
        if share >= self.config.told + self.config.made_up and self.sources.openings:
            return self._written("article", annotated(self.sources.article(random)), random)
        return self._written("fact", annotated(self.sources.made_up(random)), random)

    def _nothing(self, random: Random) -> Example:
        """A sentence of prose, or a question, after anything."""
        before = self.sources.made_up(random) if random.random() < 0.5 else []
        asked = random.random() < 0.15
        text = (
            self.sources.facts.draw(random).question if asked else random.choice(self.sources.prose)
        )
        document = annotated([*before[:1], Told(text)])
        (*_, example) = write_examples(document, random)
        return Example("nothing", write_pieces(example, self.config.before))

    def _written(self, label: str, document: Document, random: Random) -> Example:
        """One sentence of a document, mostly one that says something."""
        examples = write_examples(document, random)
        telling = [one for one in examples if one.triples]
        chosen = random.choice(telling if telling and random.random() < 0.95 else examples)
        return Example(label, write_pieces(chosen, self.config.before))
