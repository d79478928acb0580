"""What one step of training sees: documents with notes in them, and questions about the notes.

This room knows token ids and positions in documents, no model.

Shapes: D documents, C chunks of each, T chunk tokens, K rows per write, G groups, Q questions,
t tokens of a question row, R = D * C * K rows that the step writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from memplus.notes import ABSTENTION, PROMPT_TEMPLATE, Note, Split, make_notes
from memplus.training.corpus import PAD, Corpus
from memplus.training.recipe import Recipe, Stage

__all__ = ["IGNORED", "Episode", "EpisodeMaker"]

IGNORED = -100
_ATTEMPTS = 4
_ASKED_UNWRITTEN = 0.6


@dataclass
class Episode:
    """One step's tensors."""

    chunks: Tensor
    """[D, C, T] what is written."""
    ids: Tensor
    """[Q, t] unwritten text, prompt and answer but for its last token; padded on the right."""
    labels: Tensor
    """[Q, t] the answer's tokens where they are predicted, else ``IGNORED``."""
    tail_labels: Tensor
    """[Q, t] the unwritten text's next tokens, once for each group."""
    prompt: Tensor
    """[Q, t] true where a token belongs to the prompt."""
    told: Tensor
    """[Q, R] true at the rows that can hold the answer: from the statement's verb to its end."""
    abstains: Tensor
    """[Q] true where the answer is the abstention."""
    far: Tensor
    """[Q] true where another group was told."""


@dataclass
class _Told:
    note: Note
    start: int
    """First token of the part that states the value; the rows before it cannot know it."""
    end: int


@dataclass
class _Document:
    ids: list[int]
    told: list[_Told]


@dataclass
class _Question:
    tail: list[int]
    prompt: list[int]
    answer: list[int]
    rows: list[int]
    abstains: bool
    far: bool


class EpisodeMaker:
    """Makes episodes from a corpus and from notes made up on the way.

    Args:
        corpus: running text.
        tokenizer: the one that ``corpus`` was tokenised with.
        recipe: sizes and shares.
        split: whose notes.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, recipe: Recipe, split: Split = "train"
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._split = split
        self._pad = tokenizer.encode(PAD).ids[0]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def make(self, stage: Stage, random: Random, *, tail: bool) -> Episode:
        """One episode of a stage; with ``tail``, questions follow text not yet written."""
        size = self._recipe.memory.chunk_tokens
        written = stage.chunks * size
        documents = [self._document(stage, random, tail=tail) for _ in range(stage.documents)]
        count = max(2, stage.questions // 2) if tail else stage.questions
        questions: list[_Question] = []
        for first in range(0, stage.documents, stage.group):
            left = random.randrange(1, size) if tail else 0
            group = range(first, first + stage.group)
            near = [
                (index, told)
                for index in group
                for told in documents[index].told
                if told.end <= written + (left if index == group[-1] else 0)
            ]
            rest = documents[group[-1]].ids[written : written + left]
            for _ in range(count):
                chosen = self._choose(documents, group, near, stage, random)
                questions.append(self._question(chosen, rest, group, stage, random))
        ids = [document.ids[:written] for document in documents]
        chunks = torch.tensor(ids).view(stage.documents, stage.chunks, size)
        return self._episode(chunks, questions, count)

    def _document(self, stage: Stage, random: Random, *, tail: bool) -> _Document:
        """Sentences and notes in random order, cut to the stage's length."""
        size = self._recipe.memory.chunk_tokens
        length = (stage.chunks + tail) * size
        count = sum(random.choice(stage.notes) for _ in range(stage.chunks)) + tail
        document = self._compose(length, count, random)
        for _ in range(_ATTEMPTS - 1):
            if any(told.end <= stage.chunks * size for told in document.told):
                break
            document = self._compose(length, max(1, count), random)
        return document

    def _compose(self, length: int, count: int, random: Random) -> _Document:
        notes = _confusable(count, self._split, random) if count else []
        told = [self._encode(random.choice([" ", " ", " ", "\n"]) + n.statement) for n in notes]
        items: list[tuple[Note | None, list[int]]] = list(zip(notes, told))
        room = length + random.randrange(24) - sum(len(ids) for ids in told)
        text = self._corpus.running(random)
        while room > 0:
            sentence = next(text)
            items.append((None, sentence))
            room -= len(sentence)
        random.shuffle(items)
        ids = [token for _, part in items for token in part]
        shift = random.randrange(len(ids) - length + 1)
        found, at = [], -shift
        for note, part in items:
            if note is not None and at >= 0 and at + len(part) <= length:
                stated = len(self._encode(f" is {note.answer}."))
                found.append(_Told(note, at + len(part) - stated, at + len(part)))
            at += len(part)
        return _Document(ids[shift : shift + length], found)

    def _choose(
        self,
        documents: Sequence[_Document],
        group: range,
        near: Sequence[tuple[int, _Told]],
        stage: Stage,
        random: Random,
    ) -> tuple[int, _Told] | None:
        """A document and a note of it to ask for, or None for what was never told."""
        if not near or random.random() < self._recipe.optimizing.abstain:
            return None
        written = stage.chunks * self._recipe.memory.chunk_tokens
        if random.random() < stage.far:
            index = random.randrange(len(documents))
            told = [one for one in documents[index].told if one.end <= written]
            if index not in group and told:
                return index, random.choice(told)
        # Of many documents only one goes on unwritten: without this it would hardly be asked for.
        unwritten = [one for one in near if one[1].end > written]
        if unwritten and random.random() < _ASKED_UNWRITTEN:
            return random.choice(unwritten)
        return random.choice(near)

    def _question(
        self,
        chosen: tuple[int, _Told] | None,
        tail: list[int],
        group: range,
        stage: Stage,
        random: Random,
    ) -> _Question:
        if chosen is None:
            note = make_notes(random.getrandbits(60), 1, self._split)[0]
        else:
            note = chosen[1].note
        return _Question(
            tail,
            self._encode(PROMPT_TEMPLATE.format(question=note.question)),
            self._encode(f" {note.answer if chosen else ABSTENTION}\n"),
            self._rows(*chosen, stage) if chosen else [],
            abstains=chosen is None,
            far=chosen is not None and chosen[0] not in group,
        )

    def _rows(self, index: int, told: _Told, stage: Stage) -> list[int]:
        """Rows of the step that can hold a note: its own, or its whole chunk's where K < T."""
        size, new = self._recipe.memory.chunk_tokens, self._recipe.memory.tokens_per_write
        rows: set[int] = set()
        for place in range(told.start, min(told.end, stage.chunks * size)):
            chunk, offset = divmod(place, size)
            first = (index * stage.chunks + chunk) * new
            kept = offset - (size - new)
            rows.update([first + kept] if kept >= 0 else range(first, first + new))
        return sorted(rows)

    def _episode(self, chunks: Tensor, questions: Sequence[_Question], count: int) -> Episode:
        longest = max(len(q.tail) + len(q.prompt) + len(q.answer) - 1 for q in questions)
        shape = (len(questions), longest)
        rows = chunks.shape[0] * chunks.shape[1] * self._recipe.memory.tokens_per_write
        made = Episode(
            chunks,
            torch.full(shape, self._pad),
            torch.full(shape, IGNORED),
            torch.full(shape, IGNORED),
            torch.zeros(shape, dtype=torch.bool),
            torch.zeros((len(questions), rows), dtype=torch.bool),
            torch.tensor([q.abstains for q in questions]),
            torch.tensor([q.far for q in questions]),
        )
        for row, question in enumerate(questions):
            tail, prompt, answer = question.tail, question.prompt, question.answer
            ids = [*tail, *prompt, *answer[:-1]]
            made.ids[row, : len(ids)] = torch.tensor(ids)
            asked = len(tail) + len(prompt)
            made.labels[row, asked - 1 : asked - 1 + len(answer)] = torch.tensor(answer)
            made.prompt[row, len(tail) : asked] = True
            made.told[row, question.rows] = True
            if row % count == 0 and len(tail) > 1:
                made.tail_labels[row, : len(tail) - 1] = torch.tensor(tail[1:])
        return made


def _confusable(count: int, split: Split, random: Random) -> list[Note]:
    """Notes that share their attribute, or their subjects, or neither, so that none suffices."""
    kind = random.random()
    seed = random.getrandbits(60)
    if count == 1 or kind < 0.25:
        return make_notes(seed, count, split)
    if kind < 0.5:
        return make_notes(seed, count, split, attributes=1)
    if kind < 0.8 or count > 4:
        return make_notes(seed, count, split, subjects=(count + 1) // 2)
    return make_notes(seed, count, split, subjects=1)
