"""SCM as a system of the bench: Self-Controlled Memory (2304.13343)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from memplus.systems.protocol import ChatPrompt, Session
from memplus.systems.scm.calibration import Answering, Calibration, calibration_of
from memplus.systems.scm.frame import Frame
from memplus.systems.scm.long_documents import DocumentSummary, Lengths, summarise_document
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.saved import StreamState, unpacked
from memplus.systems.scm.session import SCMSession
from memplus.systems.scm.tuned import digest_of, require_tuned
from memplus.systems.session_file import load_session
from memplus.systems.shared import Shared, SharedSystem

__all__ = ["SCMSystem"]


class SCMSystem(SharedSystem[SCMOptions]):
    """Turns of text, and a controller that decides which of them are read again.

    Args:
        shared: the model.
        options: sizes and ablations.

    Raises:
        SystemWeightsError: the controller is to be a tuned one, and its weights are not there.
    """

    registered = "scm"
    called = "SCM"
    options_type = SCMOptions
    sessions: type[Session] = SCMSession
    remembers = True
    revision = 2  # dialogues are told by their turns, and summaries name no assistant
    chunk_tokens = 1
    """A question reads what waits too."""

    def __init__(self, shared: Shared, options: SCMOptions | None = None) -> None:
        super().__init__(shared, options)
        if self.options.controller == "tuned" or self.options.weights:
            require_tuned(self.options.weights)

    @property
    def title(self) -> str:
        """See ``System.title``; with whose controller it is, and how often it was right when it
        was measured."""
        if self.options.naive or self.answering == "yes":
            return super().title
        return f"{super().title}, {self.answering} {self.calibration.said}"

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``; with the controller's thresholds and accuracy."""
        found = {**super().identity, "controller": self.calibration.identity}
        if self.answering == "tuned":
            found["weights"] = digest_of(self.options.weights)
        return found

    @cached_property
    def answering(self) -> Answering:
        """Who answers the controller's questions."""
        chosen = self.options.controller
        if chosen != "auto":
            return chosen
        measured = calibration_of(self.shared.mplus.name, "tuned").answers is not None
        return "tuned" if self.options.weights or measured else "plain"

    @cached_property
    def calibration(self) -> Calibration:
        """What was measured of the controller beforehand."""
        weights = self.options.weights if self.answering == "tuned" else ""
        return calibration_of(self.shared.mplus.name, self.answering, weights)

    @cached_property
    def frame(self) -> Frame:
        """What its sessions share."""
        return Frame(self, self.answering, self.calibration)

    def open(self, seed: int) -> SCMSession:
        """See ``System.open``; nothing is at random.

        Raises:
            SystemWeightsError: the tuned controller's weights are another model's, or damaged.
        """
        _ = self.frame.controller  # before anything is told, not at the first question
        return SCMSession(self.frame)

    def load(self, path: Path) -> SCMSession:
        """See ``Loads.load``."""
        state, tensors = load_session(path, self, StreamState)
        hidden = self.options.embed == "hidden"
        width = self.shared.mplus.core.backbone.hidden_size if hidden else 0
        return SCMSession(self.frame, unpacked(path, state, tensors, width))

    def summarise(self, text: str, lengths: Lengths | None = None) -> DocumentSummary:
        """Summarise a long document by levels, with the plain base; no session takes part.

        Args:
            text: of the document.
            lengths: of pieces and groups; None: the published ones.

        Raises:
            EmptyTextError: there is nothing to summarise.
        """

        def generate(prompt: str, most: int) -> str:
            ids = self.shared.prompt_ids(ChatPrompt(prompt))
            return self.frame.plain.answer(ids, most).generated.strip()

        return summarise_document(text, generate, self.frame.count, lengths)
