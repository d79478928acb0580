"""What one session was told, as an update of the plain base, and the text that waits to be learned.

Text waits until ``flush``, which learns all of it at once. Asked before that, a session learns what
waits on a copy and answers by it: what it holds stays as it was, so that text told later is learned
together with what waited. The copy is kept for the next question, for forks, and for the flush.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from memplus.backbone.lora import Lora, LoraSizes, linear_names
from memplus.memory.checks import Count, Fields, Seed, Text, require, require_tensor
from memplus.systems import protocol
from memplus.systems.in_weights.learning import learn
from memplus.systems.in_weights.options import InWeightsOptions
from memplus.systems.in_weights.pieces import pieces_to_learn
from memplus.systems.packed_texts import pack_texts, packed_bytes, unpack_texts
from memplus.systems.protocol import ChatPrompt, Reply, pieces_of
from memplus.systems.session_file import load_session, save_session
from memplus.systems.shared import Alone, SharedSystem, answer_from_prompt

__all__ = ["InWeightsSession", "load_in_weights"]

_BETWEEN_SOURCES = "\n"
_LEARNED, _AHEAD = "learned.", "ahead."


@dataclass(frozen=True)
class _Learned:
    """What was learned so far; its weights never change, so forks share them."""

    lora: Lora | None = None
    """None: nothing, and the plain base answers."""
    tokens: int = 0
    """Of the text that was learned."""

    @property
    def nbytes(self) -> int:
        return 0 if self.lora is None else sum(one.nbytes for one in self.lora.parameters())


class _State(Fields):
    seed: Seed
    learned: Count
    """Tokens."""
    source: Text
    """Of the text that waits."""


class InWeightsSession:
    """An update, and the text that waits.

    Args:
        system: whose session it is.
        seed: of the update's first weights, and of the order of pieces.
    """

    def __init__(self, system: SharedSystem[InWeightsOptions], seed: int) -> None:
        self.system = system
        self.seed = seed
        self.learned = _Learned()
        self.waiting = ""
        self._source = ""
        self._ahead: _Learned | None = None
        """What ``flush`` would leave, where that is known."""
        self._waiting_tokens: int | None = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the update and of the text that waits; once a question was asked of what waits,
        of the update that it made as well."""
        ahead = 0 if self._ahead is None else self._ahead.nbytes
        return self.learned.nbytes + ahead + packed_bytes(self._texts)

    @property
    def tokens(self) -> int:
        """Tokens of all that was told."""
        if self._waiting_tokens is None:
            self._waiting_tokens = len(self.system.shared.encode(self._texts))
        return self.learned.tokens + self._waiting_tokens

    @property
    def _texts(self) -> list[str]:
        return [self.waiting] if self.waiting else []

    # Writing ------------------------------------------------------------------------------------

    def write(self, text: protocol.Text, source: str = "") -> None:
        """Let a text wait; a line ends where one of another source begins.

        Raises:
            EmptyTextError: there is nothing to read.
        """
        new = "".join(pieces_of(text, source))
        if self.waiting and source != self._source:
            new = _BETWEEN_SOURCES + new
        self.waiting += new
        self._source = source
        self._ahead = self._waiting_tokens = None

    def flush(self) -> None:
        """Learn the text that waits, going on from what was learned before.

        Raises:
            ConfigError: the learning rate is too high; the text waits on.
        """
        self.learned = self._told()
        self.waiting = self._source = ""
        self._ahead, self._waiting_tokens = None, 0

    def _told(self) -> _Learned:
        """With what waits learned too."""
        if not self.waiting:
            return self.learned
        if self._ahead is None:
            self._ahead = self._learn()
        return self._ahead

    @torch.inference_mode(mode=False)
    def _learn(self) -> _Learned:
        shared, options, before = self.system.shared, self.system.options, self.learned
        tokens = self.tokens
        pieces = pieces_to_learn(self.waiting, shared, options)
        if not pieces:
            return _Learned(before.lora, tokens)
        lora = _fresh(self.system, self.seed) if before.lora is None else copy.deepcopy(before.lora)
        lora.requires_grad_()
        learn(shared.mplus.core, lora, pieces, options, f"{self.seed}/{before.tokens}")
        lora.requires_grad_(requires_grad=False)
        return _Learned(lora, tokens)

    # Asking -------------------------------------------------------------------------------------

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are read one by one."""
        shared = self.system.shared
        prompts = [shared.prompt_ids(ChatPrompt(question)) for question in questions]
        alone = self._alone()
        return [answer_from_prompt(shared, ids, max_new_tokens, alone=alone) for ids in prompts]

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``."""
        return self.system.shared.score(None, prompts, options, alone=self._alone())

    def _alone(self) -> Alone:
        return Alone("none", lora=self._told().lora)

    # Copies -------------------------------------------------------------------------------------

    def fork(self) -> InWeightsSession:
        """See ``Session.fork``; weights are shared until either session learns."""
        return copy.copy(self)

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        tensors = pack_texts(self._texts)
        for prefix, one in ((_LEARNED, self.learned), (_AHEAD, self._ahead)):
            if one is not None and one.lora is not None:
                tensors |= {prefix + name: weight for name, weight in one.lora.tensors().items()}
        state = _State(seed=self.seed, learned=self.learned.tokens, source=self._source)
        save_session(path, self.system, state, tensors)


def load_in_weights(system: SharedSystem[InWeightsOptions], path: Path) -> InWeightsSession:
    """The session that was saved there.

    Raises:
        MemplusError: see ``session_file.load_session``; or its parts contradict each other.
    """
    state, tensors = load_session(path, system, _State)
    texts = unpack_texts(tensors, path)
    require(len(texts) <= 1, path, "lengths", f"are of {len(texts)} texts, not of one")
    session = InWeightsSession(system, state.seed)
    session.learned = _Learned(_restored(system, tensors, _LEARNED, path), state.learned)
    session.waiting, session._source = "".join(texts), state.source
    session._waiting_tokens = None
    ahead = _restored(system, tensors, _AHEAD, path)
    if ahead is not None:
        require(bool(texts), path, _AHEAD, "is there, and no text waits")
        session._ahead = _Learned(ahead, session.tokens)
    return session


def _fresh(system: SharedSystem[InWeightsOptions], seed: int) -> Lora:
    """An update that changes nothing yet, in float32 whatever the base is: steps are small."""
    backbone, options = system.shared.mplus.backbone, system.options
    sizes = LoraSizes(options.rank, options.alpha, linear_names(backbone))
    return Lora(backbone, sizes, generator=torch.Generator().manual_seed(seed)).float()


def _restored(
    system: SharedSystem[InWeightsOptions], tensors: Mapping[str, Tensor], prefix: str, path: Path
) -> Lora | None:
    if not any(name.startswith(prefix) for name in tensors):
        return None
    lora = _fresh(system, 0)
    shapes = {name: one.shape for name, one in lora.tensors().items()}
    found = {
        name: require_tensor(tensors, prefix + name, path, (torch.float32,), tuple(shape))
        for name, shape in shapes.items()
    }
    lora.load(found, str(path))
    return lora.requires_grad_(requires_grad=False)
