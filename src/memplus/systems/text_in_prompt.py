"""The text itself in the prompt, before every question: base of ``full_context`` and ``window``.

What stands before the question is the same for all questions, so it is read once: its keys and
values are kept, and each question goes on from them alone. They are saved with the session.

Where the text does not fit the positions it is cut at the left, or the question is refused; either
is said of the reply. So that questions of different lengths have the same text before them, the
room that a question and its answer take is rounded up to a 64th of the positions.

Shapes: L layers, H key/value heads, S tokens before the question, D head width.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from memplus.backbone.text_cache import TextCache, in_common
from memplus.errors import PositionsError
from memplus.memory.checks import Count, Fields, Text, require, require_tensor
from memplus.systems import protocol
from memplus.systems.kept_text import KeptText
from memplus.systems.packed_texts import pack_texts, packed_bytes, unpack_texts
from memplus.systems.protocol import ChatPrompt, Reply, Session, pieces_of
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import (
    Alone,
    PromptOptions,
    SharedSystem,
    answer_from_prompt,
    log_likelihoods,
)

__all__ = ["ScoringTextSession", "TextOptions", "TextSession", "TextSystem"]

_STEPS = 64
_AT_ONCE = 1024
"""Most tokens of the text read in one pass."""


@dataclass(frozen=True)
class TextOptions(PromptOptions):
    """How a text stands in the prompt."""

    too_long: Literal["cut", "refuse"] = "cut"
    """What happens where the text does not fit the positions: its beginning is left out, or the
    question is refused: the answer is empty, and nothing was declined."""


Options = TypeVar("Options", bound=TextOptions)


class _State(Fields):
    tokens: Count
    source: Text


@dataclass(frozen=True)
class _Fitted:
    """A prompt that fits the positions."""

    ids: list[int]
    before: str
    """The text in it."""
    cut: int
    """Tokens of the text that are not in it."""


class TextSession:
    """Keeps a text, and reads as much of its end as the system puts into a prompt.

    Args:
        system: whose session it is.
        text: told so far.
        known: what was computed of what stands before a question; never changed, so forks share it.
    """

    def __init__(
        self, system: TextSystem[Any], text: KeptText, known: TextCache | None = None
    ) -> None:
        self.system = system
        self.text = text
        self.known = known or TextCache()

    @property
    def nbytes(self) -> int:
        """Bytes of the text and, once a question was asked, of what was computed of it."""
        return packed_bytes(self.text.slices) + self.known.nbytes + 4 * len(self.known.ids)

    @property
    def tokens(self) -> int:
        """Tokens of all that was told."""
        return self.text.tokens

    def write(self, text: protocol.Text, source: str = "") -> None:
        """Keep a text.

        Raises:
            EmptyTextError: there is nothing to read.
        """
        self.text.add(pieces_of(text, source), source, self.system.shared.reference)

    def flush(self) -> None:
        """Nothing waits."""

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are read one by one, after the text that was read once."""
        longest = self.system.shared.mplus.asker.longest(max_new_tokens)
        return [self._answer(ChatPrompt(question), longest) for question in questions]

    def _answer(self, prompt: ChatPrompt, longest: int) -> Reply:
        try:
            fitted = self._fitted(prompt, longest)
        except PositionsError as error:
            if self.system.options.too_long == "cut":
                raise
            remark = f"refused: {error.fields['needed']} positions are needed, "
            remark += f"and there are {error.fields['available']}"
            return Reply("", declined=False, remark=remark)
        reply = answer_from_prompt(
            self.system.shared, fitted.ids, longest, alone=self._read(prompt, fitted.before)
        )
        return replace(reply, remark=self._remark(fitted))

    def _remark(self, fitted: _Fitted) -> str:
        return f"cut {fitted.cut} of {self.tokens} tokens" if fitted.cut else ""

    def _fitted(self, prompt: str | ChatPrompt, longest: int) -> _Fitted:
        """The prompt behind as much of the text as fits with ``longest`` more tokens.

        Raises:
            PositionsError: it does not fit, and nothing is to be cut.
        """
        shared, positions = self.system.shared, self.system.shared.mplus.positions
        step = max(1, positions // _STEPS)
        beside = len(shared.prompt_ids(prompt, "x")) + longest
        room = positions - math.ceil(beside / step) * step
        readable = self.system.readable(self.tokens)
        kept = min(len(self.text.slices), readable)
        missing = readable > kept
        while True:
            before = (
                self.text.last(kept) if isinstance(prompt, str) else self.text.last(kept).strip()
            )
            ids = shared.prompt_ids(prompt, before)
            over = len(ids) + longest - positions
            if (over > 0 or missing) and self.system.options.too_long == "refuse":
                needed = max(len(ids), readable) + longest
                raise PositionsError(needed=needed, available=positions)
            if over <= 0 or not kept:
                return _Fitted(ids, before, self.tokens - kept)
            kept = max(0, room if kept > room else kept - math.ceil(over / step) * step)

    def _read(self, prompt: str | ChatPrompt, before: str) -> Alone:
        """With what is computed of all that stands before the question, kept for the next one."""
        shared = self.system.shared
        # Where frequencies change with the length, keys of a shorter text are not those of a
        # longer one.
        if not before or shared.mplus.backbone.rope.changing:
            return Alone(self.system.options.adapter)
        if isinstance(prompt, str):
            ids = shared.prompt_ids("", before)
        else:
            # Whatever is asked: what two questions that begin differently have in common.
            one, other = (shared.prompt_ids(ChatPrompt(mark), before) for mark in ("A", "7"))
            ids = one[: in_common(one, other)]
        if self.known.ids != tuple(ids):
            self.known = self._extended(ids)
        return Alone(self.system.options.adapter, self.known)

    @torch.no_grad()
    def _extended(self, ids: list[int]) -> TextCache:
        """The cache of these tokens, going on from what is known of their beginning."""
        system = self.system
        begun = in_common(self.known.ids, ids)
        cache = self.known.begun(begun)
        with system.shared.adapted(system.options.adapter):
            for start in range(begun, len(ids), _AT_ONCE):
                part = torch.tensor([ids[start : start + _AT_ONCE]])
                system.shared.mplus(part, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return TextCache.of(ids, cache)

    def fork(self) -> TextSession:
        """See ``Session.fork``."""
        return type(self)(self.system, self.text.copy(), self.known)

    def save(self, path: Path) -> None:
        """See ``Saves.save``: the text, and what was computed of it."""
        tensors = pack_texts(self.text.slices)
        tensors["ids"] = torch.tensor(self.known.ids, dtype=torch.int32)
        for index, name in enumerate(("keys", "values")):
            layers = [layer[index] for layer in self.known.layers]
            tensors[name] = torch.cat(layers) if layers else torch.zeros(0)
        state = _State(tokens=self.tokens, source=self.text.source)
        save_session(path, self.system, state, tensors)


class ScoringTextSession(TextSession):
    """One that cuts what is too long, and so has a likelihood for everything."""

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``; of a text that stands as it is, the told text is the beginning."""
        return [self._scored(*one) for one in zip(prompts, options, strict=True)]

    def _scored(self, prompt: str | ChatPrompt, options: Sequence[str]) -> list[tuple[float, int]]:
        shared = self.system.shared
        longest = max((len(shared.mplus.encode(one)) for one in options), default=0)
        fitted = self._fitted(prompt, longest)
        alone = self._read(prompt, fitted.before)
        # After an empty prompt the first token is given, whatever stands before it.
        ahead, given = (fitted.ids, []) if prompt == "" else ([], fitted.ids)
        found = log_likelihoods(shared, None, given, options, ahead=ahead, alone=alone)
        return [one.remarked(self._remark(fitted)) for one in found]


class TextSystem(SharedSystem[Options], Generic[Options]):
    """A model with the text, or its end, in the prompt."""

    remembers = True
    chunk_tokens = 1

    @abstractmethod
    def readable(self, tokens: int) -> int:
        """How many of so many tokens are to stand in the prompt, were there positions enough."""

    @property
    def sessions(self) -> type[Session]:
        """See ``System.sessions``: one that may decline a question has no likelihoods for it."""
        return self._kind

    @property
    def _kind(self) -> type[TextSession]:
        return ScoringTextSession if self.options.too_long == "cut" else TextSession

    @property
    def _most(self) -> int:
        return self.readable(self.shared.mplus.positions)

    def open(self, seed: int) -> TextSession:
        """See ``System.open``."""
        return self._kind(self, KeptText(self._most))

    def load(self, path: Path) -> TextSession:
        """See ``Loads.load``."""
        state, tensors = load_session(path, self, _State)
        slices = unpack_texts(tensors, path)
        fits = len(slices) == min(state.tokens, self._most)
        require(fits, path, "lengths", f"are {len(slices)} for {state.tokens} tokens")
        text = KeptText(self._most, state.tokens, slices, state.source)
        return self._kind(self, text, self._known(tensors, path))

    def _known(self, tensors: dict[str, Tensor], path: Path) -> TextCache:
        backbone = self.shared.mplus.backbone
        ids = require_tensor(tensors, "ids", path, (torch.int32,), (None,))
        if not len(ids):
            return TextCache()
        shape = len(backbone.layers), backbone.kv_heads, len(ids), backbone.head_dim
        parts = [
            require_tensor(tensors, name, path, (backbone.dtype,), shape)
            for name in ("keys", "values")
        ]
        placed = [part.to(backbone.device)[:, None] for part in parts]
        return TextCache(tuple(ids.tolist()), tuple(zip(*placed, strict=True)))
