"""A session of SCM: a stream of turns, and questions answered from what is called up of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memplus.errors import EmptyTextError
from memplus.memory.written_text import require_text
from memplus.systems.protocol import ChatPrompt, Evidence, Reply, Text, pieces_of
from memplus.systems.scm.frame import Frame
from memplus.systems.scm.recalling import Asked, Called, call_up
from memplus.systems.scm.saved import packed
from memplus.systems.scm.selection import Form
from memplus.systems.scm.stream import Chunk, Stream, Turn, Waiting
from memplus.systems.session_file import save_session
from memplus.systems.shared import log_likelihoods

__all__ = ["Quoted", "SCMSession"]


@dataclass(frozen=True, slots=True)
class Quoted(Evidence):
    """A turn that stood in the prompt; its share is that of the tokens called up."""

    form: Form = "raw"
    """Whether it stood there whole or as its summary."""
    flash: bool = False
    """Whether it was the previous turn, which is always given."""


class SCMSession:
    """Keeps what it is told as turns.

    Args:
        frame: of its system.
        stream: told so far.
    """

    def __init__(self, frame: Frame, stream: Stream | None = None) -> None:
        self.frame = frame
        self.stream = stream or Stream()

    @property
    def nbytes(self) -> int:
        """Bytes of the texts, of the vectors, and of summaries that are kept to be compared.

        Summaries that are made only where a turn does not fit are made again when they are needed,
        so that asking changes nothing; they are not counted, and not saved.
        """
        return self.stream.nbytes

    @property
    def tokens(self) -> int:
        """Tokens told, those that wait included."""
        return sum(self.stream.tokens.values())

    def write(self, text: Text, source: str = "") -> None:
        """Tell running text, which becomes turns; a new source begins a turn.

        Where it fails, or is interrupted, the session stays as it was; so it does with ``tell`` and
        ``flush``.

        Raises:
            EmptyTextError: there is nothing to read.
        """
        pieces = pieces_of(text, source)
        ends, behind = [], 0
        for piece, own in zip(pieces, self.frame.shared.reference(pieces), strict=True):
            ends += [behind + end for end in own]
            behind += len(piece)
        waiting, ended = self.stream.waiting, list[Chunk]()
        if waiting.source != source or not waiting.text:
            ended, waiting = self._ended(source)
        full, left = waiting.add("".join(pieces), ends).cut(self.frame.options.chunk)
        self._become(self.stream.counted(source, len(ends)), [*ended, *full], left)

    def tell(self, observation: Text, response: Text = "", source: str = "") -> None:
        """See ``Converses.tell``; however long, it is one turn.

        Args:
            observation: what one side says, or its pieces, with the name of who speaks.
            response: what the other side answers, likewise; it may be empty.
            source: its name, for evidence.

        Raises:
            EmptyTextError: the first side says nothing.
            UsageError: a side or the name is no text, or a side none that can be read.
        """
        said, answered = _side(observation), _side(response)
        pieces = pieces_of([*said, *answered], source)
        if not "".join(said).strip():
            raise EmptyTextError("The observation")
        counted = sum(len(ends) for ends in self.frame.shared.reference(pieces))
        ended, waiting = self._ended(source)
        told = Chunk("".join(said), source, waiting.start, counted, "".join(answered))
        self._become(self.stream.counted(source, counted), [*ended, told], Waiting())

    def flush(self) -> None:
        """What waits becomes a turn, however short; white space alone is dropped."""
        if self.stream.waiting.text:
            ended, _ = self._ended("")
            self._become(self.stream, ended, Waiting())

    def _ended(self, source: str) -> tuple[list[Chunk], Waiting]:
        """The turn that waits, where one does, and what waits for text of a source instead."""
        chunk = self.stream.waiting.chunk
        start = self.stream.tokens.get(source, 0)
        return [] if chunk is None else [chunk], Waiting(source, start)

    def _become(self, stream: Stream, chunks: Sequence[Chunk], waiting: Waiting) -> None:
        """Be a stream with more turns, and with what waits now.

        Making a turn may need the model, so the session changes at once when all of them are made.
        """
        turns = [*stream.turns]
        for chunk in chunks:
            if chunk.observation.strip():
                turns.append(self.frame.new_turn(chunk, len(turns) + 1))
        self.stream = replace(stream, turns=tuple(turns), waiting=waiting)

    def roll_back(self) -> None:
        """Take back what was told last: what waits, else the last turn."""
        self.stream = self.stream.rolled_back()

    def reset(self) -> None:
        """Forget everything."""
        self.stream = Stream()

    # Asking -------------------------------------------------------------------------------------

    @property
    def _turns(self) -> tuple[Turn, ...]:
        """All turns; text that waits is read as the last one, and stays waiting."""
        turns, chunk = self.stream.turns, self.stream.waiting.chunk
        if chunk is None:
            return turns
        return (*turns, self.frame.new_turn(chunk, len(turns) + 1, compared=False))

    def recall(self, question: str, *, max_new_tokens: int | None = None) -> Asked:
        """What would stand before a question.

        Args:
            question: in plain words.
            max_new_tokens: of the answer, which needs room too; None: the system's own.
        """
        longest = self.frame.shared.mplus.asker.longest(max_new_tokens)
        return self._called_up(ChatPrompt(question), longest)[0]

    def _called_up(self, prompt: str | ChatPrompt, longest: int) -> tuple[Asked, list[int]]:
        """What is called up for a prompt, and token ids of both; a text as it stands asks nothing.

        Args:
            prompt: what stands behind it; where it leaves no positions, nothing is called up.
            longest: tokens that follow it.
        """
        shared = self.frame.shared
        asked = isinstance(prompt, ChatPrompt)
        query = prompt.user if isinstance(prompt, ChatPrompt) else prompt
        room = self.frame.room(prompt, longest)
        found = call_up(self.frame.parts, self._turns, query, room, asked=asked)
        before = f"{found.before}\n\n" if found.before and not asked else found.before
        ids = shared.prompt_ids(prompt, before)
        if before and len(ids) + longest > shared.mplus.positions:
            return found.emptied, shared.prompt_ids(prompt)
        return found, ids

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are answered one by one, and not kept as turns.

        What has no positions is cut, turns before the question, and the remark says so.
        """
        longest = self.frame.shared.mplus.asker.longest(max_new_tokens)
        return [self._reply(one, longest) for one in [ChatPrompt(text) for text in questions]]

    def _reply(self, prompt: ChatPrompt, longest: int) -> Reply:
        model = self.frame.shared.mplus
        asked, ids = self._called_up(prompt, longest)
        reply = self.frame.voice.answer(ids, longest)
        over = len(ids) + longest - model.positions
        remarks = [one for one in [asked.remark] if one]
        if over > 0:
            remarks.append(f"cut {over} of {len(ids)} tokens of the question")
        return replace(reply, evidence=_evidence(asked), remark=", ".join(remarks))

    def converse(self, text: str, source: str = "", *, max_new_tokens: int | None = None) -> Reply:
        """Answer, and keep both sides as a turn.

        Raises:
            EmptyTextError: the text is empty.
        """
        (reply,) = self.ask([text], max_new_tokens=max_new_tokens)
        answered = f"Assistant: {reply.text}" if reply.text.strip() else ""
        self.tell(f"User: {text}", answered, source)
        return reply

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``; what is called up for a prompt stands before it."""
        return [self._scored(*one) for one in zip(prompts, options, strict=True)]

    def _scored(self, prompt: str | ChatPrompt, options: Sequence[str]) -> list[tuple[float, int]]:
        shared = self.frame.shared
        longest = max((len(shared.mplus.encode(one)) for one in options), default=0)
        (asked, ids), alone = self._called_up(prompt, longest), self.frame.voice.alone
        # After an empty prompt the first token is given, whatever stands before it.
        ahead, given = (ids, []) if prompt == "" else ([], ids)
        found = log_likelihoods(shared, None, given, options, ahead=ahead, alone=alone)
        return [one.remarked(asked.remark) for one in found]

    def fork(self) -> SCMSession:
        """See ``Session.fork``; turns are shared, and nobody changes one."""
        return SCMSession(self.frame, self.stream)

    def save(self, path: Path) -> None:
        """See ``Saves.save``."""
        state, tensors = packed(self.stream)
        save_session(path, self.frame.system, state, tensors)


def _side(text: Text) -> list[str]:
    """The pieces of one side of a turn; nothing may be said there."""
    pieces = [text] if isinstance(text, str) or not isinstance(text, Sequence) else [*text]
    for piece in pieces:
        require_text(piece, "A side of a turn")
    return pieces


def _evidence(asked: Asked) -> tuple[Quoted, ...]:
    whole = max(1, asked.selection.tokens)
    found = [_quoted(one, whole, flash=one.chosen is asked.selection.flash) for one in asked.called]
    return tuple(sorted(found, key=lambda one: -one.share))


def _quoted(called: Called, whole: int, *, flash: bool) -> Quoted:
    chunk, chosen = called.turn.chunk, called.chosen
    end = chunk.start + chunk.length
    share = chosen.tokens / whole
    return Quoted(chunk.source, chunk.start, end, share, called.text, chosen.form, flash)
