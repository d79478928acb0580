"""The door: what every system of remembering can do, and what only some can.

Text goes in, questions are answered, the state has a size and can be forked. Whoever stands before
the door knows this file and the registry, and never which system it holds. What a system cannot do
is said by its types, before anything runs: ``issubclass(system.sessions, Scores)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from memplus.data.stream import Told
from memplus.errors import EmptyTextError, UsageError
from memplus.memory.written_text import require_text

__all__ = [
    "ChatPrompt",
    "Converses",
    "Evidence",
    "Explains",
    "Follows",
    "Likelihood",
    "Loads",
    "Placed",
    "Predicts",
    "Recall",
    "Recalled",
    "Recalls",
    "Reply",
    "Retrieves",
    "Saves",
    "Scores",
    "Session",
    "System",
    "Text",
    "pieces_of",
]

Text = str | Sequence[str]
"""A text, or its pieces in order; a system that tokenises does so piece by piece."""


def pieces_of(text: Text, source: str = "") -> list[str]:
    """The pieces of a text that hold anything; put together they are the text.

    Args:
        text: it, or its pieces.
        source: the name under which it is written; a file's may hold half a character.

    Raises:
        EmptyTextError: there is nothing to read.
        UsageError: a piece or the name is no text, or a piece (``BrokenTextError``) none that can
            be read.
    """
    if not isinstance(source, str):
        raise UsageError(f"The name of the source must be a string, not {type(source).__name__}.")
    pieces = [text] if isinstance(text, str) else list(text)
    for piece in pieces:
        require_text(piece, "The text")
    if not any(pieces):
        raise EmptyTextError()
    return [piece for piece in pieces if piece]


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A question put as ``ask`` puts it, and how its answer begins.

    Raises:
        UsageError: one of them is no text, or (``BrokenTextError``) none that can be read.
        EmptyTextError: the question is empty.
    """

    user: str
    """In plain words; the model's template is put around it."""
    answer_start: str = ""
    """What the answer begins with, as it stands."""

    def __post_init__(self) -> None:
        require_text(self.user, "A question")
        require_text(self.answer_start, "How an answer begins")
        if not self.user.strip():
            raise EmptyTextError("The question")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something written that a reply stands on."""

    source: str
    start: int
    """First token of it, in the system's own tokens, from the beginning of its source."""
    end: int
    """The token after its last one."""
    share: float
    """Its part of all that the reply stands on, 0 to 1."""
    text: str = ""
    """What it says, where the system keeps texts."""


@dataclass(frozen=True)
class Reply:
    """What a system said to one question."""

    text: str
    """The answer."""
    declined: bool
    """Whether it says, in the system's way of saying so, that there is no answer."""
    generated: str = ""
    """All that was generated, before it was cut to an answer."""
    confidence: float | None = None
    """0 to 1; None where it was not measured."""
    evidence: tuple[Evidence, ...] | None = None
    """Most share first; empty where the reply stands on nothing written, None where it was not
    measured."""
    remark: str = ""
    """What should be known of it, such as what did not fit into the prompt; else empty."""


class Likelihood(tuple[float, int]):
    """How likely a text is after another: a pair of the log-probability and the tokens of it.

    Args:
        log_probability: the natural logarithm of the text's probability, summed over its tokens.
        tokens: how many of them were predicted.
        greedy: whether each of these was the most likely one, as if the text had been generated.
        remark: as that of a reply.
    """

    greedy: bool
    remark: str

    def __new__(
        cls, log_probability: float, tokens: int, *, greedy: bool, remark: str = ""
    ) -> Self:
        """Put it together."""
        made = super().__new__(cls, (log_probability, tokens))
        made.greedy = greedy
        made.remark = remark
        return made

    def remarked(self, remark: str) -> Likelihood:
        """The same with another remark."""
        return Likelihood(*self, greedy=self.greedy, remark=remark)


class Session(Protocol):
    """What one system has read so far; no two sessions share what they were told."""

    @property
    def nbytes(self) -> int:
        """Bytes of the state, as they would have to be kept."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens taken in, in the system's own tokens, those that still wait included."""
        ...

    def write(self, text: Text, source: str = "") -> None:
        """Read a text on.

        Args:
            text: it, or its pieces: writing pieces in turn is writing them together.
            source: its name, for evidence.

        Raises:
            EmptyTextError, UsageError: there is nothing to read, or it is no text.
        """
        ...

    def flush(self) -> None:
        """Take in what still waits to be taken in; nothing where nothing waits."""
        ...

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """Put questions to the state, which stays as it is.

        Args:
            questions: in plain words; they may be answered together.
            max_new_tokens: most tokens of an answer; None: the system's own.

        Raises:
            EmptyTextError, UsageError: a question is empty, or no text.
            ConfigError: ``max_new_tokens`` is no whole number of at least 1.
        """
        ...

    def fork(self) -> Session:
        """The same state, going its own way."""
        ...


class System(Protocol):
    """A way of remembering, ready to open sessions."""

    @property
    def name(self) -> str:
        """As in the registry, with the options that differ from their defaults."""
        ...

    @property
    def title(self) -> str:
        """For tables and pictures."""
        ...

    @property
    def model(self) -> str:
        """Name of the model behind it, for people."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its answers depend on beside the text and the seed, as JSON values."""
        ...

    @property
    def sessions(self) -> type[Session]:
        """The class of its sessions, which says what they can do."""
        ...

    @property
    def remembers(self) -> bool:
        """False: its sessions keep nothing, so that asking once is asking always."""
        ...

    @property
    def chunk_tokens(self) -> int:
        """Tokens taken in at once: after a multiple of them nothing waits; 1 where nothing does."""
        ...

    @property
    def questions_together(self) -> int:
        """Questions that are put at once where there are many; 1 where each is answered by itself,
        so that nothing is gained by it."""
        ...

    def open(self, seed: int) -> Session:
        """A session that was told nothing.

        Args:
            seed: of whatever it does at random.
        """
        ...

    def declines(self, text: str) -> bool:
        """Whether an answer says that there is none."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A session that can say how sure it is and what an answer stands on."""

    def explain(
        self,
        questions: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        min_confidence: float | None = None,
    ) -> list[Reply]:
        """As ``ask``, with confidence and evidence measured, which may take longer.

        Args:
            questions: in plain words.
            max_new_tokens: most tokens of an answer; None: the system's own.
            min_confidence: a reply of less is declined; None: the system's own.
        """
        ...


@runtime_checkable
class Scores(Protocol):
    """A session that can say how likely a text is."""

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """How likely each option follows its prompt.

        Args:
            prompts: a text stands as it is, without a template, and may be empty.
            options: of each prompt.

        Returns:
            For every prompt and option the sum of the natural logarithms of its tokens'
            probabilities, and how many these were: after an empty prompt the first token is given,
            not predicted. A ``Likelihood`` says also whether they are what would be generated.
        """
        ...


@runtime_checkable
class Converses(Protocol):
    """A session that keeps a dialogue turn by turn; it is told turns where a text is a dialogue."""

    def tell(self, observation: Text, response: Text = "", source: str = "") -> None:
        """Read one turn of a dialogue on: the text that ``write`` of both sides would read.

        Args:
            observation: what one side says, or its pieces, with the name of who speaks.
            response: what the other side answers, likewise; it may be empty.
            source: as for ``write``.

        Raises:
            EmptyTextError, UsageError: nothing is said, or it is no text.
        """
        ...


@runtime_checkable
class Saves(Protocol):
    """A session that can be kept on disk; its system is a ``Loads``."""

    def save(self, path: Path) -> None:
        """Keep the state as one file.

        Raises:
            StorageError: the disk refused.
        """
        ...


@runtime_checkable
class Loads(Protocol):
    """A system whose sessions are ``Saves``."""

    def load(self, path: Path) -> Session:
        """The session that was saved there.

        Raises:
            StorageError: it cannot be read.
            MemplusError: it is not a session of this system.
        """
        ...


@runtime_checkable
class Follows(Protocol):
    """A system that can take its sessions from another's stream of writes."""

    @property
    def leader(self) -> str:
        """Name of the other system."""
        ...

    def follow(self, session: Session) -> Session:
        """What this system would hold had it read what the leader's session read."""
        ...


@runtime_checkable
class Placed(Protocol):
    """A system that says what it computes on, by which its seconds are to be read."""

    @property
    def device(self) -> str:
        """For people: ``CPU``, or the name of a GPU."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """A system of which it is known how fast it forgets."""

    def survival(self, tokens: float) -> float:
        """Chance, 0 to 1, that something is still kept after so many tokens more."""
        ...


@runtime_checkable
class Retrieves(Protocol):
    """A system that reads some of what it stored, chosen for each question."""

    @property
    def span_tokens(self) -> int:
        """Tokens of the text behind what is chosen as one."""
        ...

    @property
    def spans_retrieved(self) -> int:
        """How many are chosen for a question, at most."""
        ...


@dataclass(frozen=True, slots=True)
class Recall:
    """Of what is stored of a note, layer by layer: how much there is, how much was retrieved."""

    stored: list[int]
    retrieved: list[int]

    @property
    def by_layer(self) -> list[float | None]:
        """Share retrieved, 0 to 1; None in a layer that stores none of it."""
        return [
            part / whole if whole else None
            for part, whole in zip(self.retrieved, self.stored, strict=True)
        ]

    @property
    def mean(self) -> float | None:
        """Over the layers that store any."""
        shares = [share for share in self.by_layer if share is not None]
        return sum(shares) / len(shares) if shares else None


@dataclass(frozen=True)
class Recalled:
    """What the read behind a reply retrieved of the note that answers it."""

    rows: dict[str, Recall] = field(default_factory=dict)
    """By definition of what belongs to the note."""
    by_chance: float = 1.0
    """The share that retrieving at random would find, 0 to 1."""


@runtime_checkable
class Recalls(Protocol):
    """A session that knows what it stored of a note and what a question retrieved of it."""

    def recalled(self, reply: Reply, told: Told) -> Recalled | None:
        """What stands behind a reply that this session gave, not written to since.

        Args:
            reply: as ``ask`` returned it.
            told: where the note stands, in the system's own tokens.

        Returns:
            None where nothing is retrieved at all.
        """
        ...
