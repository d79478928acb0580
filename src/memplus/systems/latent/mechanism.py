"""What a system that remembers in vectors computes, apart from texts, files and training.

A mechanism is a stock decoder with trained parts beside it. It takes in segments of tokens, which
gives another state, and reads tokens with a state, which changes nothing. Sessions
(``latent.session``) and training know this file and no mechanism.

Shapes: B rows, T tokens, d hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from torch import Tensor, nn

from memplus.backbone.access import Backbone

__all__ = ["Decoding", "Mechanism", "MechanismState", "Share"]


@dataclass(frozen=True, slots=True)
class Share:
    """Part of what was written that an answer stood on."""

    start: int
    """First token of it, counted from the first one that was written."""
    end: int
    """The token after its last one."""
    share: float
    """Its part of the attention that went to the memory, 0 to 1."""


class MechanismState(Protocol):
    """What a mechanism keeps of the segments that it took in: a value that never changes."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """All of it, by name, as a file holds it; views of shared tables are allowed."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of these tensors."""
        ...

    @property
    def rows(self) -> int:
        """B, texts that have nothing to do with each other."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens of each text that were taken in, those that are no longer kept included."""
        ...

    def detached(self) -> Self:
        """Without the graph that it came from."""
        ...

    def repeated(self, times: int) -> Self:
        """Each row so many times, one after another: many questions are put to each text."""
        ...


State = TypeVar("State", bound=MechanismState)


class Decoding(Protocol):
    """A text that is gone on with token by token; its state is not changed."""

    @property
    def hidden(self) -> Tensor:
        """[B, d] at the last token, after the final norm."""
        ...

    def step(self, tokens: Tensor) -> None:
        """Put one more token behind each row.

        Args:
            tokens: [B] ids.
        """
        ...

    @property
    def shares(self) -> Sequence[Sequence[Share]] | None:
        """For each row, what its last token as it was read and those put behind it since stood on,
        most first; None where the mechanism keeps no account of it. What is said is predicted
        from these."""
        ...


class Mechanism(nn.Module, ABC, Generic[State]):
    """A decoder that remembers. Its parameters are the trained parts; the decoder is none of them.

    Args:
        backbone: the stock decoder, whose weights stay as they are.
    """

    segment_tokens: int
    """T of a whole segment, as ``write`` takes it."""
    unit: int = 1
    """``write`` keeps whole runs of so many tokens and drops what is left over at the end of a
    segment: a text's last tokens wait until they make one up. It divides ``segment_tokens``."""
    longest: int
    """Most tokens that ``read`` and ``begin`` take at once, the answer to come included; not fewer
    than ``segment_tokens``."""
    through_time: ClassVar[bool] = False
    """Whether gradients reach earlier segments through the state."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # In a tuple, since a module in an attribute would be one of its parts.
        self._decoder = (backbone,)

    @property
    def backbone(self) -> Backbone:
        """The stock decoder."""
        return self._decoder[0]

    @abstractmethod
    def empty(self, rows: int) -> State:
        """The state before anything was taken in.

        Args:
            rows: B, texts that have nothing to do with each other.
        """

    @abstractmethod
    def write(self, state: State, ids: Tensor) -> State:
        """Take in a segment, as cheaply as the method allows.

        Args:
            state: before it; stays as it is.
            ids: [B, T] tokens; T is ``segment_tokens``, or less where a text ends, in whole
                ``unit``s.

        Returns:
            The state behind it.
        """

    @abstractmethod
    def read(self, state: State, ids: Tensor, pad: Tensor | None = None) -> Tensor:
        """What the decoder makes of tokens with what it remembers.

        Gradients are kept wherever torch keeps them: training learns from questions that are read
        so, and whoever only reads turns them off.

        Args:
            state: stays as it is.
            ids: [B, T], the text behind what was taken in.
            pad: [B], how many tokens at the left of each row are none; None: none anywhere.

        Returns:
            [B, T, d] after the final norm; anything at padding.
        """

    @abstractmethod
    def read_and_write(self, state: State, ids: Tensor) -> tuple[Tensor, State]:
        """``read`` and ``write`` of the same segment in one pass, with gradients as the method has
        them: what training on running text needs.

        Args:
            state: before it.
            ids: [B, T].

        Returns:
            [B, T, d] after the final norm, and the state behind it.
        """

    @abstractmethod
    def begin(self, state: State, ids: Tensor, pad: Tensor | None = None) -> Decoding:
        """Read tokens, and be ready to go on with them.

        Args:
            state: stays as it is.
            ids: [B, T], as for ``read``.
            pad: as for ``read``.
        """

    def read_about(
        self, state: State, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> Tensor:
        """``read``, where only some of the tokens say what the memory is looked through for.

        A mechanism that looks once for a whole text must not look for what is still to be
        predicted, nor for a template's words: whoever knows the question's place, or scores what
        comes behind it, says so here. Mechanisms that look token by token, or not at all, read.

        Args:
            state: stays as it is.
            ids: [B, T], as for ``read``.
            about: [B, 2] in each row the first token of the question and the one behind its last,
                padding counted; where it is empty the text before ``ids`` counts.
            pad: as for ``read``.
        """
        return self.read(state, ids, pad)

    def begin_about(
        self, state: State, ids: Tensor, about: Tensor, pad: Tensor | None = None
    ) -> Decoding:
        """``begin``, where only some of the tokens say what the memory is looked through for.

        Args:
            state: stays as it is.
            ids: [B, T], as for ``read``.
            about: as for ``read_about``.
            pad: as for ``read``.
        """
        return self.begin(state, ids, pad)

    @abstractmethod
    def restored(self, tensors: Mapping[str, Tensor]) -> State:
        """The state that has these tensors; B is what it was, 1 in a session's file, any number in
        a training's checkpoint.

        Args:
            tensors: as ``MechanismState.tensors`` gave them, on any device.

        Raises:
            ValueError: a name, a shape or a dtype is not what it should be; says which.
        """

    def at_step(self, step: int) -> None:
        """Told by training before each step, for methods that bring a part in by and by.

        What is done follows from the number alone, so that a resumed run does the same. A
        mechanism that was never told is as it is once training ended.

        Args:
            step: steps behind it; 0 at first.
        """

    def trained(self) -> dict[str, Tensor]:
        """The weights that training made, by name."""
        return {name: weight.detach() for name, weight in self.named_parameters()}

    def take_weights(self, weights: Mapping[str, Any]) -> None:
        """Put trained weights in the place of the ones that it has.

        Args:
            weights: as ``trained`` gave them.

        Raises:
            ValueError: a name or a shape is not what it should be; says which.
        """
        own = dict(self.named_parameters())
        if own.keys() != weights.keys():
            odd = sorted(own.keys() ^ weights.keys())
            raise ValueError(f"{odd[0]} is missing, or belongs to something else")
        for name, weight in own.items():
            if weight.shape != weights[name].shape:
                found, wanted = list(weights[name].shape), list(weight.shape)
                raise ValueError(f"{name} is {found} in size, not {wanted}")
        for name, weight in own.items():
            weight.data.copy_(weights[name])
