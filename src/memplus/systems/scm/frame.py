"""What the sessions of one SCM system share: voices, controller, summaries (2304.13343)."""

from __future__ import annotations

from functools import cached_property

from memplus.systems.protocol import ChatPrompt
from memplus.systems.scm.calibration import Answering, Calibration
from memplus.systems.scm.controller import Controller, Margins
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.prompts import before_input
from memplus.systems.scm.recalling import Parts
from memplus.systems.scm.stream import Chunk, Turn, shortened
from memplus.systems.scm.summaries import Summaries
from memplus.systems.scm.tuned import tuned_lora
from memplus.systems.scm.voice import Voice
from memplus.systems.shared import SharedSystem

__all__ = ["Frame"]

_BETWEEN = 3
"""Tokens of room for what joins two texts."""


class Frame:
    """What a model does for the turns of any session.

    Args:
        system: whose sessions they are.
        answering: who answers the controller's questions.
        calibration: of its controller.
    """

    def __init__(
        self, system: SharedSystem[SCMOptions], answering: Answering, calibration: Calibration
    ) -> None:
        self.system = system
        self.answering = answering
        self.shared = system.shared
        self.options = system.options
        self.calibration = calibration

    @cached_property
    def voice(self) -> Voice:
        """Answers."""
        return Voice(self.shared, self.options.adapter)

    @cached_property
    def plain(self) -> Voice:
        """Summarises, and compares: the base model as it is."""
        return Voice(self.shared)

    @cached_property
    def summaries(self) -> Summaries:
        """Those made so far; they follow from the texts alone."""
        return Summaries(self.plain, self.options.summary_above)

    @cached_property
    def controller(self) -> Controller:
        """Answers yes or no.

        Raises:
            SystemWeightsError: the tuned one's weights are another model's, or damaged.
        """
        if self.answering == "yes":
            return Controller(None, self.calibration.thresholds)
        voice = self.plain
        if self.answering == "tuned":
            lora = tuned_lora(self.shared.mplus, self.options.weights)
            voice = Voice(self.shared, lora=lora)
        return Controller(Margins(voice), self.calibration.thresholds)

    @cached_property
    def parts(self) -> Parts:
        """What calling up stands on."""
        hidden = self.options.embed == "hidden"
        return Parts(
            self.options,
            self.controller,
            self._summary,
            self.count,
            self._shorten,
            (lambda text: self.plain.vector(self._ids(text))) if hidden else None,
        )

    # Turns --------------------------------------------------------------------------------------

    def new_turn(self, chunk: Chunk, number: int, *, compared: bool = True) -> Turn:
        """A turn of the stream.

        Args:
            chunk: what was told.
            number: in the stream, from 1 on.
            compared: whether it will be compared with an input, as the last one is not.
        """
        text = chunk.text(number)
        tokens = self.count(text)
        if not compared:
            return Turn(chunk, text, tokens)
        summary = None
        if self.options.vector_of == "summary":
            summary = self.summaries.of(chunk, text, tokens)
        vector = None if self.parts.vector is None else self.parts.vector(summary or text)
        return Turn(chunk, text, tokens, summary, vector)

    def _summary(self, turn: Turn) -> str:
        if turn.summary is not None:
            return turn.summary
        return self.summaries.of(turn.chunk, turn.text, turn.tokens)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        return self.shared.mplus.encode(text)

    def _shorten(self, text: str, tokens: int) -> str:
        (ends,) = self.shared.reference([text])
        return shortened(text, ends, tokens)

    # Prompts ------------------------------------------------------------------------------------

    def room(self, prompt: str | ChatPrompt, longest: int) -> int:
        """Tokens that the model has positions for beside a prompt and its answer; 2 at least."""
        beside = self.shared.prompt_ids(prompt, before_input([" "], " "))
        joined = _BETWEEN * (self.options.k + 1)
        return max(2, self.shared.mplus.positions - len(beside) - joined - longest)
