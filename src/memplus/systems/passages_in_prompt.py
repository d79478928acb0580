"""The passages that fit a question best, in the prompt: base of ``bm25`` and ``embeddings``.

Every text is cut into passages of so many tokens; a question is put with the k best of them before
it. What ranks them (``Index``) is all that the systems differ in.

Shapes: n passages.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from memplus.config import require
from memplus.data.word_search import best_of
from memplus.memory.checks import Fields, Items, Text, require_tensor
from memplus.memory.checks import require as require_field
from memplus.systems import protocol
from memplus.systems.packed_texts import pack_texts, packed_bytes, unpack_texts
from memplus.systems.passages import Passage, Passages
from memplus.systems.protocol import ChatPrompt, Evidence, Reply, Session, pieces_of
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import (
    Alone,
    PromptOptions,
    SharedSystem,
    answer_from_prompt,
    log_likelihoods,
)

__all__ = ["Index", "PassageOptions", "PassageSession", "PassageSystem"]

_BETWEEN = "\n\n"
_TABLE = "table"
_ROW = 3 * 4
"""Bytes of a passage's place: source, first token, tokens."""


@dataclass(frozen=True)
class PassageOptions(PromptOptions):
    """Which passages stand before a question."""

    tokens: int = 128
    """Of a passage."""
    k: int = 4
    """Passages before a question, at most: those without anything in common are left out."""
    order: Literal["score", "position"] = "score"
    """The best one first, or as they were told."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tokens", "k"):
            value = getattr(self, name)
            require(value >= 1, name, value, "it must be at least 1")


class Index(Protocol):
    """Ranks passages."""

    @property
    def nbytes(self) -> int:
        """Bytes of ``tensors``."""
        ...

    def put(self, place: int, texts: Sequence[str]) -> None:
        """Forget the passages from a place on, and take in these instead."""
        ...

    def scores(self, question: str) -> list[float]:
        """How well each passage fits a question; 0 or less where nothing is in common."""
        ...

    def copy(self) -> Index:
        """The same passages, going their own way."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What is saved, beside the passages, so as not to be computed again."""
        ...

    def restore(self, texts: Sequence[str], tensors: Mapping[str, Tensor], path: Path) -> None:
        """Take in passages, with what was saved of them.

        Raises:
            CorruptMemoryError: the tensors are not those of so many passages.
        """
        ...


class _State(Fields):
    sources: Items[Text]


@dataclass(frozen=True)
class _Put:
    """A prompt with passages in it."""

    ids: list[int]
    evidence: tuple[Evidence, ...] = ()
    remark: str = ""


class PassageSession:
    """Keeps every text, and reads of it what ranks best for a question.

    Args:
        system: whose session it is.
        passages: told so far.
        index: of the same passages.
    """

    def __init__(self, system: PassageSystem, passages: Passages, index: Index) -> None:
        self.system = system
        self.passages = passages
        self.index = index

    @property
    def nbytes(self) -> int:
        """Bytes of the texts, their places and what ranks them."""
        items = self.passages.items
        sources = len(json.dumps(self._sources()))
        texts = packed_bytes([one.text for one in items])
        return (texts + _ROW * len(items) + sources + self.index.nbytes) if items else 0

    @property
    def tokens(self) -> int:
        """Tokens of all that was told."""
        return self.passages.tokens

    def write(self, text: protocol.Text, source: str = "") -> None:
        """Keep a text.

        Raises:
            EmptyTextError: there is nothing to read.
        """
        pieces = pieces_of(text, source)
        place, items = self.passages.more(pieces, source, self.system.shared.reference)
        # What may take long comes first: a write that Ctrl-C ends in it has told nothing.
        self.index.put(place, [one.text for one in items])
        self.passages.put(place, items)

    def flush(self) -> None:
        """Nothing waits: a passage that is not full is found as well."""

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are read one by one, and the evidence is what was read."""
        shared = self.system.shared
        longest = shared.mplus.asker.longest(max_new_tokens)
        replies = []
        for question in questions:
            put = self._put(ChatPrompt(question), question, longest)
            reply = answer_from_prompt(shared, put.ids, longest, alone=self._alone)
            replies.append(replace(reply, evidence=put.evidence, remark=put.remark))
        return replies

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``; what stands as it is asks for passages by itself."""
        shared = self.system.shared
        found: list[list[tuple[float, int]]] = []
        for prompt, group in zip(prompts, options, strict=True):
            asked = prompt if isinstance(prompt, str) else prompt.user
            longest = max((len(shared.mplus.encode(one)) for one in group), default=0)
            put = self._put(prompt, asked, longest)
            likely = log_likelihoods(shared, None, put.ids, group, alone=self._alone)
            found.append([one.remarked(put.remark) for one in likely])
        return found

    @property
    def _alone(self) -> Alone:
        return Alone(self.system.options.adapter)

    def _put(self, prompt: str | ChatPrompt, asked: str, longest: int) -> _Put:
        """The prompt behind the best passages, of which as many as fit with ``longest`` tokens."""
        shared, items, options = self.system.shared, self.passages.items, self.system.options
        scores = self.index.scores(asked) if asked.strip() else []
        best = best_of(scores, options.k)
        for count in range(len(best), -1, -1):
            chosen = best[:count]
            ordered = chosen if options.order == "score" else sorted(chosen)
            before = _BETWEEN.join(items[place].text.strip() for place in ordered)
            after = _BETWEEN if before and isinstance(prompt, str) else ""
            ids = shared.prompt_ids(prompt, before + after)
            if not count or len(ids) + longest <= shared.mplus.positions:
                break
        out = len(best) - len(chosen)
        remark = f"left out {out} of {len(best)} passages" if out else ""
        return _Put(ids, _evidence(items, scores, chosen), remark)

    def fork(self) -> PassageSession:
        """See ``Session.fork``."""
        return PassageSession(self.system, self.passages.copy(), self.index.copy())

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        sources, items = self._sources(), self.passages.items
        number = {source: index for index, source in enumerate(sources)}
        rows = [(number[one.source], one.start, one.tokens) for one in items]
        table = torch.tensor(rows, dtype=torch.int32).view(len(rows), 3)
        tensors = pack_texts([one.text for one in items]) | {_TABLE: table} | self.index.tensors()
        save_session(path, self.system, _State(sources=sources), tensors)

    def _sources(self) -> list[str]:
        return list(dict.fromkeys(one.source for one in self.passages.items))


def _evidence(
    items: Sequence[Passage], scores: Sequence[float], chosen: Sequence[int]
) -> tuple[Evidence, ...]:
    """The passages that were read, each with its part of their scores."""
    total = sum(scores[place] for place in chosen)
    return tuple(
        Evidence(one.source, one.start, one.end, scores[place] / total, one.text)
        for place, one in ((place, items[place]) for place in chosen)
    )


class PassageSystem(SharedSystem[PassageOptions]):
    """A model with passages of what it was told in its prompt."""

    options_type = PassageOptions
    sessions: type[Session] = PassageSession
    remembers = True
    chunk_tokens = 1

    @abstractmethod
    def index(self) -> Index:
        """What ranks passages, with none in it."""

    def open(self, seed: int) -> PassageSession:
        """See ``System.open``."""
        return PassageSession(self, Passages(self.options.tokens), self.index())

    def load(self, path: Path) -> PassageSession:
        """See ``Loads.load``."""
        state, tensors = load_session(path, self, _State)
        texts, index = unpack_texts(tensors, path), self.index()
        table = require_tensor(tensors, _TABLE, path, (torch.int32,), (len(texts), 3))
        rows: list[tuple[int, int, int]] = [tuple(row) for row in table.tolist()]
        for source, start, tokens in rows:
            sound = 0 <= source < len(state.sources) and start >= 0
            sound = sound and 1 <= tokens <= self.options.tokens
            require_field(sound, path, _TABLE, f"has {[source, start, tokens]}, which is no place")
        items = [
            Passage(state.sources[source], start, tokens, text)
            for (source, start, tokens), text in zip(rows, texts, strict=True)
        ]
        index.restore(texts, tensors, path)
        return PassageSession(self, Passages(self.options.tokens, items), index)
