"""One request that is answered: from its prompt to the end of its answer.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from memplus.config import PromptConfig
from memplus.mplus.evidence import Evidence
from memplus.mplus.joint_reader import JointReader, MemoryRead
from memplus.passes.finite import require_finite
from memplus.passes.joint import ReadPiece
from memplus.server.engine.answer_text import AnswerText
from memplus.server.engine.choosing import Chooser
from memplus.server.engine.requests import Finished, Piece, ReadRequest
from memplus.server.engine.spelling import Spelling

__all__ = ["Answering"]


class Answering:
    """The state of one answer between two passes.

    Args:
        reader: reads with the model.
        request: what is asked.
        decode: token ids -> text, special tokens left out.

    Raises:
        MemplusError: the request cannot be answered.
    """

    def __init__(
        self, reader: JointReader, request: ReadRequest, decode: Callable[[list[int]], str]
    ) -> None:
        self.request = request
        self.reader = reader
        self.read: MemoryRead = reader.begin(
            request.memory,
            request.ids,
            request.sampling.max_new_tokens,
            asking=request.asking,
            watch=request.evidence or request.min_confidence > 0,
        )
        self.count = 0
        """Tokens chosen."""
        self._last = 0
        self._ends = frozenset[int]() if request.sampling.ignore_end else reader.ends
        spelling = Spelling(reader.core.optional_tokenizer, decode)
        self._chooser = Chooser(request.sampling, spelling)
        self._text = AnswerText(request.sampling, decode)
        self._confidence = 0.0
        self._evidence: list[Evidence] = []
        self._withheld = False

    @property
    def prompt(self) -> PromptConfig:
        """How the model is asked, and what it says where it does not know."""
        return self.reader.core.prompt

    def piece(self, most: int) -> ReadPiece:
        """What the next pass reads: of a prompt at most so many tokens, then one at a time."""
        if self.read.unread:
            return self.read.piece(most)
        return ReadPiece(self.read, (self._last,))

    def take(self, logits: Tensor) -> list[Piece | Finished]:
        """Choose the next token after a pass that reached the end of what is there.

        Args:
            logits: [V].

        Returns:
            What is to be handed on; ``Finished`` as the last of all.

        Raises:
            SelfTestError: the logits are no numbers.
        """
        given: list[Piece | Finished] = []
        if not self.count:
            require_finite(self.reader.core.name, "its score of a token", logits.amax())
            given += self._begin()
        token = self._last = self._chooser.choose(logits)
        self.count += 1
        ended = token in self._ends
        if not ended:
            score = self._chooser.score(logits, token, first=self.count == 1)
            self._text.add(token, score)
        stopped = ended or self._text.stopped
        last = stopped or self.count >= self.request.sampling.max_new_tokens
        piece = None if self._withheld else self._text.piece(ended=last)
        if piece is not None:
            given.append(piece)
        if last:
            given.append(self._finished(stopped=stopped))
        return given

    def _begin(self) -> list[Piece | Finished]:
        """What is known as soon as the prompt was read: on what the answer will stand."""
        request, watch = self.request, self.read.watched
        if watch is not None:
            self._confidence = watch.sharpest(0)
        if request.evidence and request.memory is not None:
            self._evidence = self.reader.evidence(self.read, request.memory)
        self._withheld = self._confidence < request.min_confidence
        abstention = self.prompt.abstention
        return [Piece(abstention)] if self._withheld and abstention else []

    def _finished(self, *, stopped: bool) -> Finished:
        return Finished(
            "stop" if stopped else "length",
            prompt_tokens=len(self.request.ids),
            completion_tokens=self.count,
            confidence=self._confidence,
            evidence=self._evidence,
            withheld=self._text.final() if self._withheld else "",
        )
