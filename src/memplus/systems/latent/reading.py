"""What is read behind a state: prompts that are answered or scored, many at once.

What is longer than the mechanism reads at once is cut in whole segments, which are taken into a
copy of the state, so neither a long tail nor a long prompt nor a long answer is ever refused.

Shapes: B rows, T tokens, V vocabulary, d hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from memplus.mplus.core import Core
from memplus.passes.finite import require_finite
from memplus.systems.latent.mechanism import Mechanism, Share
from memplus.systems.latent.prompts import Prompt
from memplus.systems.protocol import Likelihood

__all__ = ["Choice", "Ends", "Reading", "Said"]

_TOGETHER = 32
"""Most rows read in one batch."""


@dataclass(frozen=True)
class Ends:
    """Where an answer ends."""

    limit: int
    """Most tokens of it."""
    tokens: Collection[int]
    """It ends before the first of these."""
    said: Callable[[Sequence[int]], bool]
    """Whether these tokens say so much that nothing behind them belongs to the answer."""


@dataclass(frozen=True)
class Choice:
    """What can follow a prompt."""

    prompt: Prompt
    """It may have no tokens, where some are given."""
    options: Sequence[Sequence[int]]
    """Token ids of each, more than are given."""
    given: int = 0
    """How many first tokens of each are not predicted."""


_Text = tuple[tuple[int, ...], Prompt]
"""What is taken in, and what is read behind it."""


@dataclass
class Said:
    """A text that is gone on with: what stands behind the state, and what is said so far."""

    rest: Prompt
    """What is read: the text behind what was taken into a copy of the state."""
    taken: tuple[int, ...] = ()
    """Tokens of it that were taken into that copy."""
    ids: list[int] = field(default_factory=list)
    """What is said."""
    ended: bool = False
    _stood_on: list[tuple[int, Sequence[Share]]] = field(default_factory=list, init=False)
    """How many tokens were said in one reading, and what they stood on."""
    _noted: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self.rest.ids)

    def note(self, shares: Sequence[Share]) -> None:
        """What the tokens said since the last such note, and the one before them, stood on."""
        self._stood_on.append((max(1, len(self.ids) - self._noted), shares))
        self._noted = len(self.ids)

    @property
    def shares(self) -> list[Share] | None:
        """What all of it stood on; parts named twice are added up. None where nobody counted."""
        if not self._stood_on:
            return None
        whole = sum(tokens for tokens, _ in self._stood_on)
        found: dict[tuple[int, int], float] = {}
        for tokens, shares in self._stood_on:
            for one in shares:
                place = one.start, one.end
                found[place] = found.get(place, 0.0) + one.share * tokens / whole
        return [Share(*place, share) for place, share in found.items()]

    def take(self, count: int) -> None:
        """The first tokens of what is read go into the copy of the state."""
        self.taken += self.rest.ids[:count]
        self.rest = self.rest.taken(count)

    def put(self, token: int, ends: Ends) -> bool:
        """Put one more token behind it; whether it ended by this one."""
        if self.ended:
            return False
        if token in ends.tokens:
            self.ended = True
            return True
        self.rest = self.rest.extended([token])
        self.ids.append(token)
        self.ended = len(self.ids) >= ends.limit or ends.said(self.ids)
        return self.ended


class Reading:
    """Reads texts behind one state, which stays as it is; without gradients.

    Args:
        core: the model.
        mechanism: how it remembers.
        state: B is 1.
    """

    def __init__(self, core: Core, mechanism: Mechanism[Any], state: Any) -> None:
        self.core = core
        self.mechanism = mechanism
        self._states: dict[tuple[int, ...], Any] = {(): state}

    def _state(self, taken: tuple[int, ...]) -> Any:
        """The state with whole segments taken in behind it."""
        if taken in self._states:
            return self._states[taken]
        segment = self.mechanism.segment_tokens
        at = next(n for n in range(len(taken), -1, -segment) if taken[:n] in self._states)
        state = self._states[taken[:at]]
        for start in range(at, len(taken), segment):
            state = self.mechanism.write(state, self._row(taken[start : start + segment]))
        self._states[taken] = state
        return state

    def _row(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)], device=self.core.device)

    # Answering ----------------------------------------------------------------------------------

    @torch.no_grad()
    def answer(self, prompts: Sequence[Prompt], ends: Ends) -> list[Said]:
        """Go on with texts, each with the most likely token at every step.

        Args:
            prompts: of at least one token each.
            ends: where to stop.
        """
        fitted = [self._fitted(one, ends.limit) for one in prompts]
        rows = [Said(rest, taken) for taken, rest in fitted]
        while waiting := [row for row in rows if not row.ended]:
            groups: dict[tuple[int, ...], list[Said]] = {}
            for row in waiting:
                groups.setdefault(row.taken, []).append(row)
            for taken, group in groups.items():
                for start in range(0, len(group), _TOGETHER):
                    self._go_on(self._state(taken), group[start : start + _TOGETHER], ends)
        return rows

    def _fitted(self, prompt: Prompt, tokens: int) -> tuple[tuple[int, ...], Prompt]:
        """Whole segments to be taken in so that so many tokens more can be read, if they ever can,
        and what is left of the prompt.
        """
        segment, length = self.mechanism.segment_tokens, len(prompt.ids)
        over = max(0, length + tokens - self.mechanism.longest)
        count = segment * min(math.ceil(over / segment), max(0, length - 1) // segment)
        return prompt.ids[:count], prompt.taken(count)

    def _go_on(self, state: Any, rows: Sequence[Said], ends: Ends) -> None:
        """Until every row has ended, or one of them cannot be read in one piece any more."""
        ids, about, pad = self._padded([row.rest for row in rows])
        decoding = self.mechanism.begin_about(state.repeated(len(rows)), ids, about, pad)
        width = ids.shape[1]
        while True:
            tokens = self._likeliest(decoding.hidden)
            ended = [i for i, row in enumerate(rows) if row.put(tokens[i], ends)]
            open_rows = [i for i, row in enumerate(rows) if not row.ended]
            width += 1
            full = width > self.mechanism.longest
            noted = [*ended, *(open_rows if full else [])]
            if noted and (shares := decoding.shares) is not None:
                for index in noted:
                    rows[index].note(shares[index])
            if not open_rows:
                return
            if full:
                for index in open_rows:
                    self._halve(rows[index])
                return
            decoding.step(torch.tensor(tokens, device=self.core.device))

    def _halve(self, row: Said) -> None:
        """Take whole segments away, about half of what is read, where no more can be read."""
        segment, length = self.mechanism.segment_tokens, len(row)
        if length > self.mechanism.longest:
            row.take(segment * min(max(1, length // 2 // segment), (length - 1) // segment))

    def _likeliest(self, hidden: Tensor) -> list[int]:
        """The best token behind each of [B, d]."""
        scores, best = self.core.logits(hidden).max(dim=-1)
        require_finite(self.core.name, "its score of a token", scores)
        found: list[int] = best.tolist()
        return found

    def _padded(self, rows: Sequence[Prompt]) -> tuple[Tensor, Tensor, Tensor | None]:
        """[B, T] ids with padding on the left, [B, 2] their questions, and [B] how much padding;
        None where there is none.
        """
        width = max(len(row.ids) for row in rows)
        pad = [width - len(row.ids) for row in rows]
        filled = [[0] * count + list(row.ids) for count, row in zip(pad, rows, strict=True)]
        about = [[place + n for place in row.about] for n, row in zip(pad, rows, strict=True)]
        ids, asked, padding = (
            torch.tensor(x, device=self.core.device) for x in (filled, about, pad)
        )
        return ids, asked, padding if any(pad) else None

    # Scoring ------------------------------------------------------------------------------------

    @torch.no_grad()
    def likelihoods(self, choices: Sequence[Choice]) -> list[list[Likelihood]]:
        """How likely each option is; those that differ in their last token alone are read once.

        Args:
            choices: all options of one are read behind the same part of its prompt.
        """
        counts: dict[_Text, int] = {}
        fitted = []
        for one in choices:
            longest = max((len(ids) for ids in one.options), default=1)
            taken, rest = self._fitted(one.prompt, longest - 1)
            fitted.append([(taken, rest.extended(ids[:-1])) for ids in one.options])
            for text, ids in zip(fitted[-1], one.options, strict=True):
                counts[text] = max(len(ids) - one.given, counts.get(text, 0))
        hidden = self._hidden(counts)
        return [
            [
                self._likelihood(hidden[text][one.given - len(ids) :], ids[one.given :])
                for text, ids in zip(texts, one.options, strict=True)
            ]
            for texts, one in zip(fitted, choices, strict=True)
        ]

    def _likelihood(self, hidden: Tensor, ids: Sequence[int]) -> Likelihood:
        """Of tokens, by the hidden vectors [tokens, d] that predict them."""
        logits = self.core.logits(hidden).float()
        require_finite(self.core.name, "its score of a token", logits.amax(dim=-1))
        told = torch.tensor(list(ids), device=self.core.device)
        found = logits.log_softmax(dim=-1).gather(1, told[:, None])
        greedy = bool((logits.argmax(dim=-1) == told).all())
        return Likelihood(float(found.sum()), len(ids), greedy=greedy)

    def _hidden(self, counts: Mapping[_Text, int]) -> dict[_Text, Tensor]:
        """[count, d] at the last ``count`` tokens of each text."""
        found: dict[_Text, Tensor] = {}
        fitting: dict[tuple[int, ...], list[_Text]] = {}
        for text, count in counts.items():
            if len(text[1].ids) <= self.mechanism.longest:
                fitting.setdefault(text[0], []).append(text)
            else:
                found[text] = self._in_parts(*text, count)
        for taken, group in fitting.items():
            for start in range(0, len(group), _TOGETHER):
                batch = group[start : start + _TOGETHER]
                read = self._read(self._state(taken), [text for _, text in batch])
                for hidden, text in zip(read, batch, strict=True):
                    found[text] = hidden[-counts[text] :]
        return found

    def _read(self, state: Any, texts: Sequence[Prompt]) -> Tensor:
        """[B, T, d] of texts padded on the left."""
        ids, about, pad = self._padded(texts)
        return self.mechanism.read_about(state.repeated(len(texts)), ids, about, pad)

    def _in_parts(self, taken: tuple[int, ...], text: Prompt, count: int) -> Tensor:
        """[count, d] at the last tokens of a text that is read segment by segment."""
        ids, segment, longest = text.ids, self.mechanism.segment_tokens, self.mechanism.longest
        first = len(ids) - count
        at = segment * min(first // segment, math.ceil((len(ids) - longest) / segment))
        state, found = self._state(taken + ids[:at]), []
        while len(ids) - at > longest:
            part = self._row(ids[at : at + segment])
            read, state = self.mechanism.read_and_write(state, part)
            found.append(read[0, max(0, first - at) :])
            at += segment
        rest = self._read(state, [text.taken(at)])
        return torch.cat([*found, rest[0, max(0, first - at) :]])
