"""What a mechanism has read so far: its state, and the tokens that fill no segment yet.

Pieces are tokenised one by one. Every whole segment is written; the rest waits as a tail, which is
read before every prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memplus.errors import EmptyTextError, SessionMismatchError
from memplus.memory.checks import Fields, Text, require, require_tensor, require_within, wrong
from memplus.mplus.core import Core
from memplus.systems.latent.mechanism import Mechanism, MechanismState
from memplus.systems.latent.reading import Choice, Ends, Reading, Said
from memplus.systems.latent.sources import Sources
from memplus.systems.latent.tools import Tools
from memplus.systems.protocol import ChatPrompt, Reply, pieces_of
from memplus.systems.protocol import Text as Told
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import SharedSystem

__all__ = ["LatentSession", "load_latent"]

_STATE, _TAIL = "state.", "tail"


class _Saved(Fields):
    """A session without its tensors."""

    weights: Text
    """SHA-256 of the trained weights."""


class LatentSession:
    """A state of a mechanism, and a tail.

    Args:
        system: whose session it is.
        tools: of the system.
        state: of one row; a value that never changes, so forks share it.
        tail: token ids that are told and not written yet.
        sources: where all tokens that were told came from.
    """

    def __init__(
        self,
        system: SharedSystem[Any],
        tools: Tools,
        state: Any,
        tail: Sequence[int] = (),
        sources: Sources | None = None,
    ) -> None:
        self.system = system
        self.tools = tools
        self.state = state
        self.tail = list(tail)
        self.sources = sources or Sources()

    @property
    def nbytes(self) -> int:
        """Bytes of the state, the tail, and where the tokens came from."""
        return int(self.state.nbytes) + 4 * len(self.tail) + self.sources.nbytes

    @property
    def tokens(self) -> int:
        """Tokens of all that was told, the tail included."""
        return self.sources.tokens

    # Writing ------------------------------------------------------------------------------------

    def write(self, text: Told, source: str = "") -> None:
        """See ``Session.write``; a write that fails leaves the session as it was."""
        ids = self.system.shared.encode(pieces_of(text, source))
        self._take([*self.tail, *ids], self._mechanism.segment_tokens)
        self.sources.add(source, len(ids))

    def flush(self) -> None:
        """Write the tail as a short segment; less than the mechanism takes in at all waits on."""
        whole = len(self.tail) - len(self.tail) % self._mechanism.unit
        if whole:
            self._take(self.tail, whole)

    def _take(self, ids: list[int], segment: int) -> None:
        """Write all whole segments of so many tokens; the rest is the tail."""
        state, whole = self.state, len(ids) - len(ids) % segment
        with self._alone():
            for start in range(0, whole, segment):
                part = torch.tensor([ids[start : start + segment]], device=self._core.device)
                state = self._mechanism.write(state, part)
        self.state, self.tail = state, ids[whole:]

    @property
    def _mechanism(self) -> Mechanism[Any]:
        return self.tools.mechanism

    @property
    def _core(self) -> Core:
        return self.tools.core

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Have the model to oneself, without gradients."""
        with self._core.backbone.lock, torch.no_grad():
            yield

    # Asking -------------------------------------------------------------------------------------

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are answered together, with evidence where the mechanism
        keeps account of what it attends to: of what was taken in, not of what still waits.
        """
        return [self._reply(one) for one in self._said(questions, max_new_tokens)]

    def _said(self, questions: Sequence[str], max_new_tokens: int | None) -> list[Said]:
        """What is said to each question, and what that stands on."""
        model = self.system.shared.mplus
        limit = model.asker.longest(max_new_tokens)
        prompts = [self.tools.prompt(ChatPrompt(one)).behind(self.tail) for one in questions]
        ends = Ends(limit, self.tools.end_tokens, self._has_stopped)
        with self._alone():
            return self._reading().answer(prompts, ends)

    def _reading(self) -> Reading:
        return Reading(self._core, self._mechanism, self.state)

    def _text(self, ids: Sequence[int]) -> str:
        tokenizer = self._core.tokenizer
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    def _has_stopped(self, ids: Sequence[int]) -> bool:
        text = self._text(ids)
        return self.system.shared.mplus.asker.until_stop(text) != text.strip()

    def _reply(self, said: Said) -> Reply:
        generated = self._text(said.ids)
        text = self.system.shared.mplus.asker.until_stop(generated)
        shares = said.shares
        evidence = None if shares is None else self.sources.evidence(shares)
        return Reply(text, self.system.declines(text), generated, evidence=evidence)

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``.

        Raises:
            EmptyTextError: an option has no token to predict.
        """
        choices = [self._choice(*one) for one in zip(prompts, options, strict=True)]
        with self._alone():
            found = self._reading().likelihoods(choices)
        return [[*group] for group in found]

    def _choice(self, prompt: str | ChatPrompt, options: Sequence[str]) -> Choice:
        asked = self.tools.prompt(prompt)
        # After an empty prompt the first token is given, whatever stands before it.
        given = 0 if asked.ids else 1
        wanted = [self.system.shared.mplus.encode(option) for option in options]
        if any(len(ids) <= given for ids in wanted):
            raise EmptyTextError("The option")
        return Choice(asked.behind(self.tail), wanted, given)

    # Copies -------------------------------------------------------------------------------------

    def fork(self) -> LatentSession:
        """See ``Session.fork``."""
        return type(self)(self.system, self.tools, self.state, self.tail, self.sources.copy())

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        tensors = {_STATE + name: one for name, one in self.state.tensors.items()}
        tensors[_TAIL] = torch.tensor(self.tail, dtype=torch.int32)
        saved = _Saved(weights=self.tools.weights_digest)
        save_session(path, self.system, saved, tensors | self.sources.tensors())


def load_latent(
    system: SharedSystem[Any],
    tools: Tools,
    path: Path,
    made: type[LatentSession] = LatentSession,
) -> LatentSession:
    """The session that was saved there.

    Args:
        system: whose it is.
        tools: of the system.
        path: the file.
        made: the class of the system's sessions.

    Raises:
        SessionMismatchError: other trained weights made it, or see ``session_file.load_session``.
        MemplusError: see there; or its parts contradict each other.
    """
    saved, tensors = load_session(path, system, _Saved)
    if saved.weights != tools.weights_digest:
        reason = "it was saved with other trained weights"
        raise SessionMismatchError(path, system=system.name, reason=reason)
    sources = Sources.of_tensors(tensors, path)
    tail = require_tensor(tensors, _TAIL, path, (torch.int32,), (None,))
    require_within(tail, path, _TAIL, 0, tools.core.vocabulary - 1)
    most = min(sources.tokens, tools.mechanism.segment_tokens - 1)
    require(len(tail) <= most, path, _TAIL, f"has {len(tail)} tokens, not {most} at most")
    state = _restored(tools.mechanism, tensors, path)
    written = sources.tokens - len(tail)
    is_ = f"is of {state.tokens} tokens, while {written} were written"
    require(state.tokens == written, path, "state", is_)
    return made(system, tools, state, tail.tolist(), sources)


def _restored(
    mechanism: Mechanism[Any], tensors: Mapping[str, Tensor], path: Path
) -> MechanismState:
    """The state of the one text that a file holds."""
    parts = {n.removeprefix(_STATE): t for n, t in tensors.items() if n.startswith(_STATE)}
    try:
        state: MechanismState = mechanism.restored(parts)
    except ValueError as error:
        raise wrong(path, "state", f"is not one of this system: {error}") from error
    require(state.rows == 1, path, "state", f"is of {state.rows} texts, not of one")
    return state
