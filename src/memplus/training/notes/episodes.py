"""What one step of training sees: documents with notes in them, and questions about the notes.

This room knows token ids and positions in documents, no model.

Shapes: D documents, C chunks of each, T chunk tokens, K rows per write, G groups, Q questions,
t tokens of a question row, R = D * C * K rows that the step writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from memplus.data.corpus import PAD, Corpus
from memplus.data.notes import ABSTENTION, PROMPT_TEMPLATE, NameSource, Note, Split
from memplus.training.notes.jobs import IGNORED, Episode, NotesJob
from memplus.training.notes.note_maker import Crowd, NoteMaker
from memplus.training.notes.recipe import Recipe, Stage

__all__ = ["EpisodeMaker"]

_ATTEMPTS = 4
_ASKED_UNWRITTEN = 0.6
_BEFORE = [" ", " ", " ", " ", "\n", "\n\n", "\n- "]
_BROKEN = 0.08
"""Share of statements that a line break cuts."""


@dataclass
class _Told:
    note: Note
    start: int
    """First token of the part that states the value; the rows before it cannot know it."""
    end: int
    older: tuple[int, _Told] | None = None
    """Document and note that this one corrects."""
    newer: tuple[int, _Told] | None = None
    """Document and note that corrects this one."""
    asked: bool = True
    """False where a correction is not in every reader's memory, so that no answer is right."""


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
        others: people of other names, for the recipe's share of notes about such.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        recipe: Recipe,
        split: Split = "train",
        *,
        others: NameSource | None = None,
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._notes = NoteMaker(recipe, split, others)
        self._pad = tokenizer.encode(PAD).ids[0]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def draw(self, seed: int, step: int, part: int, stage: int) -> NotesJob:
        """An episode of the recipe's stage of that index, or sometimes of one before it.

        Args:
            seed: of the run.
            step: together with ``part`` of the step, the same numbers give the same episode.
            part: of the step.
            stage: where the run stands.
        """
        random = Random(f"{seed}/{step}" + (f"/{part}" if part else ""))
        own = random.getrandbits(62)
        optimizing, index = self._recipe.optimizing, stage
        if index and random.random() < optimizing.easier:
            index = random.randrange(index)
        chosen = self._recipe.stages[index]
        tail = random.random() < optimizing.tail
        episode = self.make(chosen, random, tail=tail)
        return NotesJob(chosen, episode, own, index == stage and not tail)

    def make(self, stage: Stage, random: Random, *, tail: bool) -> Episode:
        """One episode of a stage; with ``tail``, questions follow text not yet written."""
        size = self._recipe.memory.chunk_tokens
        written = stage.chunks * size
        documents: list[_Document] = []
        for crowd in self._notes.crowds(stage, random):
            documents += self._group(stage, len(documents), random, crowd, tail=tail)
        told = _told_of(documents)
        count = max(2, stage.questions // 2) if tail else stage.questions
        questions: list[_Question] = []
        for first in range(0, stage.documents, stage.group):
            left = random.randrange(1, size) if tail else 0
            group = range(first, first + stage.group)
            near = [
                (index, told)
                for index in group
                for told in documents[index].told
                if told.asked and told.end <= written + (left if index == group[-1] else 0)
            ]
            rest = documents[group[-1]].ids[written : written + left]
            for _ in range(count):
                chosen = self._choose(documents, group, near, stage, random)
                if chosen is None:
                    questions.append(self._unanswerable(told, near, rest, stage, random))
                else:
                    questions.append(self._question(chosen, rest, group, stage))
        ids = [document.ids[:written] for document in documents]
        chunks = torch.tensor(ids).view(stage.documents, stage.chunks, size)
        return self._episode(chunks, questions, count)

    def _group(
        self, stage: Stage, first: int, random: Random, crowd: Crowd | None, *, tail: bool
    ) -> list[_Document]:
        """Documents ``first`` and on, that share a pool, some of their notes corrected later."""
        length = (stage.chunks + tail) * self._recipe.memory.chunk_tokens
        if crowd is not None:
            return [self._compose(length, notes, random, paragraph=True) for notes in crowd]
        if stage.plain and random.random() < stage.plain:
            return [self._compose(length, [], random, paragraph=False) for _ in range(stage.group)]
        fixed: list[list[Note]] = [[] for _ in range(stage.group)]
        pairs: list[tuple[Note, Note]] = []
        for _ in range(stage.group):
            if random.random() < stage.corrected:
                pairs.append(self._notes.correction(random))
                for place, note in zip(sorted(random.choices(range(stage.group), k=2)), pairs[-1]):
                    fixed[place].append(note)
        documents = [self._document(stage, notes, random, tail=tail) for notes in fixed]
        written = stage.chunks * self._recipe.memory.chunk_tokens
        where = {id(t.note): (first + i, t) for i, d in enumerate(documents) for t in d.told}
        for old, new in pairs:
            _connect(where.get(id(old)), where.get(id(new)), written)
        return documents

    def _document(
        self, stage: Stage, fixed: Sequence[Note], random: Random, *, tail: bool
    ) -> _Document:
        """Sentences and notes in random order, cut to the stage's length."""
        size = self._recipe.memory.chunk_tokens
        length = (stage.chunks + tail) * size
        count = sum(random.choice(stage.notes) for _ in range(stage.chunks)) + tail
        paragraph = random.random() < stage.paragraphs
        for _ in range(_ATTEMPTS):
            notes = self._notes.confusable(count, stage, random) if count else []
            document = self._compose(length, [*notes, *fixed], random, paragraph=paragraph)
            if any(told.end <= stage.chunks * size for told in document.told):
                break
            count = max(1, count)
        return document

    def _compose(
        self, length: int, notes: Sequence[Note], random: Random, *, paragraph: bool
    ) -> _Document:
        told = [(note, self._encode(_laid_out(note, random))) for note in notes]
        room = length + random.randrange(24) - sum(len(ids) for _, ids in told)
        text = self._corpus.running(random)
        blocks: list[list[tuple[Note | None, list[int]]]] = []
        while room > 0:
            blocks.append([(None, next(text))])
            room -= len(blocks[-1][0][1])
        blocks += [list(told)] if paragraph and told else [[one] for one in told]
        random.shuffle(blocks)
        items = _in_order([item for block in blocks for item in block])
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
        if not near or random.random() < stage.abstain:
            return None
        written = stage.chunks * self._recipe.memory.chunk_tokens
        if random.random() < stage.far:
            index = random.randrange(len(documents))
            told = [one for one in documents[index].told if one.asked and one.end <= written]
            if index not in group and told:
                one = random.choice(told)
                return one.newer or (index, one)
        # Of many documents only one goes on unwritten: without this it would hardly be asked for.
        unwritten = [one for one in near if one[1].end > written]
        if unwritten and random.random() < _ASKED_UNWRITTEN:
            return random.choice(unwritten)
        chosen = random.choice(near)
        return chosen[1].newer or chosen

    def _question(
        self, chosen: tuple[int, _Told], tail: list[int], group: range, stage: Stage
    ) -> _Question:
        note = chosen[1].note
        rows = self._rows(*chosen, stage)
        if chosen[1].older is not None:  # both are needed to know which is the later one
            rows = sorted({*rows, *self._rows(*chosen[1].older, stage)})
        return _Question(
            tail,
            self._encode(PROMPT_TEMPLATE.format(question=note.question)),
            self._encode(f" {note.answer}\n"),
            rows,
            abstains=False,
            far=chosen[0] not in group,
        )

    def _unanswerable(
        self,
        told: Mapping[str, set[str]],
        near: Sequence[tuple[int, _Told]],
        tail: list[int],
        stage: Stage,
        random: Random,
    ) -> _Question:
        """A question about what was never told; ``told`` are the attributes of every subject."""
        note = self._notes.untold([one.note for _, one in near], told, stage, random)
        prompt = self._encode(PROMPT_TEMPLATE.format(question=note.question))
        answer = self._encode(f" {ABSTENTION}\n")
        return _Question(tail, prompt, answer, [], abstains=True, far=False)

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


def _laid_out(note: Note, random: Random) -> str:
    """The statement with what stands before it, now and then broken as a narrow column would."""
    statement = note.statement
    if random.random() < _BROKEN:
        spaces = [at for at in range(statement.rfind(" is ")) if statement[at] == " "]
        if spaces:
            at = random.choice(spaces)
            statement = f"{statement[:at]}\n{statement[at + 1 :]}"
    return random.choice(_BEFORE) + statement


def _in_order(items: list[tuple[Note | None, list[int]]]) -> list[tuple[Note | None, list[int]]]:
    """The same with a correction after what it corrects."""
    first: dict[tuple[str, str], int] = {}
    for at, (note, _) in enumerate(items):
        if note is None:
            continue
        before = first.setdefault((note.subject, note.attribute), at)
        corrects = items[before][0]
        if before != at and corrects is not None and corrects.correction:
            items[before], items[at] = items[at], items[before]
    return items


def _connect(old: tuple[int, _Told] | None, new: tuple[int, _Told] | None, written: int) -> None:
    """Tell a note and its correction of each other."""
    if old is None:
        return
    if new is None or new[1].end > written:
        old[1].asked = False
    else:
        old[1].newer, new[1].older = new, old


def _told_of(documents: Sequence[_Document]) -> dict[str, set[str]]:
    """The attributes that were told of every subject."""
    found: dict[str, set[str]] = {}
    for document in documents:
        for told in document.told:
            found.setdefault(told.note.subject, set()).add(told.note.attribute)
    return found
