"""Base of the systems that remember in vectors: options, trained weights, sessions.

A system on it names its options, builds its mechanism and says which options its weights were
trained for; the rest is here.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from memplus.backbone.access import Backbone
from memplus.errors.model import in_order
from memplus.mplus.core import Core
from memplus.systems.latent.mechanism import Mechanism
from memplus.systems.latent.session import LatentSession, load_latent
from memplus.systems.latent.tools import Kind, Tools
from memplus.systems.latent.weights import missing_file
from memplus.systems.shared import READ_TOGETHER, Part, Shared, SharedSystem

__all__ = ["UNTRAINED", "Decode", "LatentOptions", "LatentSystem"]

Decode = Callable[[Sequence[int]], str]
"""Token ids -> what they say."""
UNTRAINED = "none"
_ASSETS = Path(__file__).parents[2] / "assets" / "systems"


class LatentOptions(Protocol):
    """What every system on this base has among its options, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def weights(self) -> str:
        """Folder of trained weights instead of those that come with memplus; ``none``: the
        mechanism as training begins with it."""
        ...


Options = TypeVar("Options", bound=LatentOptions)


class LatentSystem(SharedSystem[Options], Generic[Options]):
    """A decoder that remembers in vectors.

    Args:
        shared: the model.
        options: the system's own; None: the defaults.

    Raises:
        SystemWeightsError: the trained weights are not there, or were trained with other options.
    """

    makes: ClassVar[tuple[str, ...]]
    """The commands that make the weights, in their order."""
    trained_for: ClassVar[tuple[str, ...]]
    """Names of the options that weights hold for, such as sizes: trained with others they are
    refused."""
    noted: ClassVar[tuple[str, ...]] = ()
    """Names of options that the record of weights says as well, and that may be chosen anew."""
    by_decoder: ClassVar[tuple[str, ...]] = ()
    """Names of those that weights hold for and that are 0 where the decoder decides them."""
    sessions: type[LatentSession] = LatentSession
    questions_together = READ_TOGETHER
    remembers = True

    def __init__(self, shared: Shared, options: Options | None = None) -> None:
        super().__init__(shared, options)
        given = self.options.weights
        folder = None if given == UNTRAINED else Path(given) if given else self.shipped()
        sizes = self.sizes(self.options)
        undecided = tuple(name for name in self.by_decoder if not sizes[name])
        kind = Kind(
            self.registered, self.makes, sizes, self._built, self._decided, undecided, self.noted
        )
        self.tools = Tools(shared, kind, folder)

    def _built(self, core: Core) -> Mechanism[Any]:
        return self.build(core.backbone, self.options, core.decode)

    def _decided(self, core: Core) -> dict[str, Any]:
        return self.sizes(self.decided(self.options, core.backbone))

    @classmethod
    def decided(cls, options: Options, backbone: Backbone) -> Options:
        """The options with a value for each that leaves it to the decoder.

        Args:
            options: as they were given.
            backbone: the decoder.

        Raises:
            ConfigError: the decoder cannot serve one of them.
        """
        return options

    @property
    def acting(self) -> Options:
        """See ``SharedSystem.acting``."""
        return self.decided(self.options, self.tools.core.backbone)

    @classmethod
    @abstractmethod
    def build(cls, backbone: Backbone, options: Options, decode: Decode) -> Mechanism[Any]:
        """The mechanism as training begins with it, on the decoder's device, in its dtype.

        Args:
            backbone: the decoder.
            options: sizes and rules.
            decode: what token ids say, for what finds texts by their words.

        Raises:
            ConfigError: they do not go together, or the decoder cannot serve them.
        """

    @classmethod
    def sizes(cls, options: Options) -> dict[str, Any]:
        """The options that weights were trained with, as JSON values: what their record says."""
        values = json.loads(json.dumps(asdict(options)))
        return {name: values[name] for name in (*cls.trained_for, *cls.noted)}

    @classmethod
    def shipped(cls) -> Path:
        """Where the weights lie that come with memplus, if any do."""
        return _ASSETS / cls.registered

    @classmethod
    def missing(cls) -> str:
        """See ``SharedSystem.missing``."""
        absent = missing_file(cls.shipped())
        return f"{absent} is not there; it is made by {in_order(cls.makes)}" if absent else ""

    @property
    def mechanism(self) -> Mechanism[Any]:
        """The mechanism with its trained weights; see ``Tools.mechanism``."""
        return self.tools.mechanism

    @property
    def not_of_sessions(self) -> tuple[str, ...]:
        """See ``SharedSystem.not_of_sessions``: weights' content counts, not where they lie."""
        return ("weights",)

    @property
    def part(self) -> Part:
        """See ``SharedSystem.part``: its own weights stand on the plain base."""
        return "base"

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``: the weights belong to it."""
        return {**super().identity, "weights": self.tools.weights_digest}

    @property
    def chunk_tokens(self) -> int:
        """See ``System.chunk_tokens``: of a segment."""
        return self.mechanism.segment_tokens

    def open(self, seed: int) -> LatentSession:
        """See ``System.open``; nothing is drawn at random.

        Raises:
            SystemWeightsError: the weights belong to another base, or are damaged.
        """
        return self.sessions(self, self.tools, self.mechanism.empty(1))

    def load(self, path: Path) -> LatentSession:
        """See ``Loads.load``."""
        return load_latent(self, self.tools, path, self.sessions)
