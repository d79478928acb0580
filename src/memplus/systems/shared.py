"""What the systems of one run share: a model, loaded once, and its tokenizer as a reference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor

from memplus.backbone.lora import Lora, under
from memplus.backbone.text_cache import TextCache
from memplus.data.stream import Reference
from memplus.data.wording import same_wording
from memplus.errors import EmptyTextError
from memplus.fields import CheckedFields, changed, named
from memplus.memory.state import Memory
from memplus.mplus.encoding import encode_each
from memplus.mplus.model import MPlus
from memplus.passes.finite import FiniteScores, require_finite
from memplus.systems.protocol import ChatPrompt, Likelihood, Reply

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "READ_TOGETHER",
    "Adapter",
    "Alone",
    "NoOptions",
    "Part",
    "PromptOptions",
    "Shared",
    "SharedSystem",
    "answer_from_prompt",
    "device_name",
    "log_likelihoods",
]

Adapter = Literal["read", "none"]
"""Under which adapter a prompt is read; ``none``: by the plain base."""

Part = Literal["model", "adapted", "base"]
"""Of a model with a memory: all of it, or its base with the adapters, or its base alone."""

_PARTS: dict[Adapter | None, Part] = {None: "model", "read": "adapted", "none": "base"}
"""What answers, by the adapter that a system's options name; memories have no such option."""

_BETWEEN = "\n\n"
"""Between a text and what is asked about it."""

READ_TOGETHER = 32
"""Questions in one batch, of systems that read them in batches."""


class Shared:
    """A model that is loaded when it is first needed.

    Args:
        load: gives the model.
    """

    def __init__(self, load: Callable[[], MPlus]) -> None:
        self._load = load

    @cached_property
    def mplus(self) -> MPlus:
        """The model with its memory.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self._load()

    @property
    def dtype(self) -> str:
        """Of the weights, as people call it: ``float32``."""
        return str(self.mplus.backbone.dtype).removeprefix("torch.")

    def digest(self, part: Part) -> str:
        """Of the weights, sizes and dtype of a part of the model."""
        if part == "model":
            return self.mplus.fingerprint
        return self.mplus.base_fingerprint if part == "base" else self.mplus.adapted_fingerprint

    @cached_property
    def reference(self) -> Reference:
        """The model's tokenizer, as plans count tokens.

        Raises:
            TokenizerMissingError: it has none.
        """
        model, tokenizer = self.mplus, self.mplus.tokenizer

        def ends(texts: list[str]) -> list[list[int]]:
            found = encode_each(tokenizer, texts)
            return [
                _slow_ends(model, text) if places is None else places
                for text, (_, places) in zip(texts, found, strict=True)
            ]

        return ends

    def encode(self, pieces: Sequence[str]) -> list[int]:
        """Token ids of pieces, each tokenised by itself."""
        return [token for ids, _ in encode_each(self.mplus.tokenizer, pieces) for token in ids]

    def prompt_ids(self, prompt: str | ChatPrompt, before: str = "") -> list[int]:
        """Token ids of a prompt, with a text before what the user says.

        Args:
            prompt: a text stands as it is; without one and without a text before it there are
                no tokens.
            before: a text; a blank line parts it from a question, nothing from a prompt that
                stands as it is.
        """
        model = self.mplus
        if isinstance(prompt, str):
            text = f"{before}{prompt}"
            return model.encode(text) if text else []
        user = f"{before}{_BETWEEN}{prompt.user.strip()}" if before else prompt.user
        start = model.encode(prompt.answer_start) if prompt.answer_start else []
        return [*model.asker.encode(user), *start]

    def score(
        self,
        memory: Memory | None,
        prompts: Sequence[str | ChatPrompt],
        options: Sequence[Sequence[str]],
        *,
        alone: Alone | None = None,
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``, with a memory, or of the model alone."""
        given = [self.prompt_ids(prompt) for prompt in prompts]
        return [
            [*log_likelihoods(self, memory, ids, group, alone=alone)]
            for ids, group in zip(given, options, strict=True)
        ]

    @contextlib.contextmanager
    def adapted(self, adapter: Adapter) -> Iterator[None]:
        """Reads of this thread go under the read adapter, or by the plain base (``none``)."""
        backbone = self.mplus.backbone
        if adapter == "read":
            yield
            return
        with backbone.lock, backbone.adapters.bypassed():
            yield

    def declines(self, text: str) -> bool:
        """Whether an answer is the model's way of saying that there is none."""
        return same_wording(text, self.mplus.prompt.abstention)


def device_name(device: torch.device) -> str:
    """What people call a device: ``CPU``, or a GPU by its maker's name."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return device.type.upper()


def _slow_ends(model: MPlus, text: str) -> list[int]:
    """Where tokens end by a tokenizer that does not say so: by what it decodes."""
    ids = model.encode(text)
    ends = [len(model.decode(ids[: count + 1])) for count in range(len(ids))]
    return [*(min(end, len(text)) for end in ends[:-1]), len(text)] if ends else []


@dataclass(frozen=True)
class NoOptions(CheckedFields):
    """Of a system that is always the same."""


Options = TypeVar("Options", bound="DataclassInstance")


class SharedSystem(Generic[Options]):
    """What every system of a shared model says of it; each adds its name and its sessions.

    Args:
        shared: the model.
        options: the system's own; None: the defaults.
    """

    registered: ClassVar[str]
    """Its name in the registry."""
    called: ClassVar[str]
    """What people call it."""
    options_type: type[Options]
    """A frozen dataclass whose fields all have defaults."""
    revision: ClassVar[int] = 1
    """Raised by a change of code after which it answers otherwise with the same options, so that
    figures of before are known to be old."""
    questions_together: ClassVar[int] = 1
    """See ``System.questions_together``; here each is answered by itself."""

    def __init__(self, shared: Shared, options: Options | None = None) -> None:
        self.shared = shared
        self.options: Options = self.options_type() if options is None else options

    @property
    def title(self) -> str:
        """See ``System.title``: what people call it, with the options that are set."""
        options = ", ".join(named("", {one: value})[1:] for one, value in self._changed.items())
        return f"{self.called} ({options})" if options else self.called

    @property
    def _changed(self) -> dict[str, Any]:
        return changed(self.options)

    @classmethod
    def missing(cls) -> str:
        """What is not there that it needs, such as a library or weights; empty: nothing."""
        return ""

    @property
    def name(self) -> str:
        """See ``System.name``."""
        return named(self.registered, self._changed)

    @property
    def model(self) -> str:
        """See ``System.model``."""
        return self.shared.mplus.name

    @property
    def device(self) -> str:
        """See ``Placed.device``: what the model lies on."""
        return device_name(self.shared.mplus.device)

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``; all options belong to it, since a default may change."""
        return {
            "system": self.registered,
            "revision": self.revision,
            self.part: self.shared.digest(self.part),
            "prompt": asdict(self.shared.mplus.prompt),
            "options": asdict(self.acting),
        }

    @property
    def acting(self) -> Options:
        """The options, with what the model decides in the place of those that leave it to that."""
        return self.options

    @property
    def not_of_sessions(self) -> tuple[str, ...]:
        """Names of options that a saved session is not held to: it names what they lead to, or they
        change nothing of what it answers."""
        return ()

    @property
    def part(self) -> Part:
        """How much of the model takes part: what is no part of that changes no answer."""
        return _PARTS[getattr(self.options, "adapter", None)]

    def declines(self, text: str) -> bool:
        """See ``System.declines``."""
        return self.shared.declines(text)


@dataclass(frozen=True)
class PromptOptions(CheckedFields):
    """Of systems that put what they remember into the prompt."""

    adapter: Adapter = "read"
    """What reads the prompt: the model under its read adapter, or (``none``) its plain base."""


@dataclass(frozen=True)
class Alone:
    """How a model reads without a memory."""

    adapter: Adapter = "read"
    known: TextCache | None = None
    """What was computed of the beginning of what it reads, under the same adapter."""
    lora: Lora | None = None
    """An update of the plain base that it reads under, beside no adapter of the memory's."""

    @contextlib.contextmanager
    def reading(self, shared: Shared) -> Iterator[None]:
        """Reads of this thread go so."""
        if self.lora is None:
            with shared.adapted(self.adapter):
                yield
            return
        with shared.adapted("none"), under(shared.mplus.backbone, self.lora):
            yield

    def begun(self, ids: Sequence[int]) -> tuple[int, dict[str, Any]]:
        """How many of these tokens are computed, and arguments that make a pass go on from there.

        Args:
            ids: of a prompt; its last token is read anew, since what follows it is asked for.
        """
        if self.known is None:
            return 0, {}
        count = self.known.shared(ids)
        return count, {"past_key_values": self.known.begun(count)}


def answer_from_prompt(
    shared: Shared,
    ids: Sequence[int],
    max_new_tokens: int | None = None,
    *,
    alone: Alone | None = None,
) -> Reply:
    """What a model answers by itself, without a memory.

    Args:
        shared: the model.
        ids: the prompt's, as ``Shared.prompt_ids`` gives them.
        max_new_tokens: most tokens of the answer; None: the prompt config's.
        alone: how the model reads it; None: under its read adapter.

    Raises:
        ConfigError: ``max_new_tokens`` is no whole number of at least 1.
        SelfTestError: the model's weights give no finite numbers.
        PositionsError, TokenizerMissingError.
    """
    model, alone = shared.mplus, alone or Alone()
    prompt = torch.tensor([list(ids)], device=model.device)
    _, options = alone.begun(ids)
    longest = model.asker.longest(max_new_tokens)
    with alone.reading(shared):
        options["logits_processor"] = [FiniteScores(model.name)]
        output = model.generate(prompt, None, max_new_tokens=longest, **options)
    said = output[0, prompt.shape[1] :].tolist()
    generated = str(model.tokenizer.decode(said, skip_special_tokens=True))
    text = model.asker.until_stop(generated)
    return Reply(text, shared.declines(text), generated)


@torch.no_grad()
def log_likelihoods(
    shared: Shared,
    memory: Memory | None,
    given: Sequence[int],
    options: Sequence[str],
    *,
    ahead: Sequence[int] = (),
    alone: Alone | None = None,
) -> list[Likelihood]:
    """How likely each option is after a prompt.

    Options that differ in their last token alone are read together, in one pass. Without a memory
    the prompt is read once for all of them.

    Args:
        shared: the model that reads them.
        memory: what it remembers; None: the model alone.
        given: the prompt's token ids; where there are none an option's first token is given.
        options: as they stand.
        ahead: token ids before the prompt that are no part of it: a text that is remembered so.
        alone: how the model reads without a memory; None: under its read adapter.

    Raises:
        EmptyTextError: an option has no token to predict.
        SelfTestError: the model's weights give no finite numbers.
    """
    wanted = [shared.mplus.encode(option) for option in options]
    least = 1 if given else 2
    if any(len(ids) < least for ids in wanted):
        raise EmptyTextError("The option")
    alone = alone or Alone()
    if memory is None and len({tuple(ids[:-1]) for ids in wanted}) > 1:
        alone = _having_read(shared, [*ahead, *given], alone)
    logits: dict[tuple[int, ...], Tensor] = {}
    found = []
    for ids in wanted:
        count = len(ids) - least + 1
        before = tuple(ids[:-1])
        if before not in logits:
            past, cached = alone.begun([*ahead, *given])
            read = torch.tensor([[*ahead, *given, *ids]], device=shared.mplus.device)
            with alone.reading(shared):
                output = shared.mplus(read[:, past:], memory=memory, **cached)
            logits[before] = output.logits[0, -count - 1 : -1].float()
            best = logits[before].amax(dim=-1)
            require_finite(shared.mplus.name, "its score of a token", best)
        found.append(_likelihood(logits[before], ids[-count:]))
    return found


def _having_read(shared: Shared, ids: Sequence[int], alone: Alone) -> Alone:
    """With what is computed of all of a prompt but its last token, for texts that follow it."""
    # Where frequencies change with the length, each text behind the prompt changes its keys.
    if len(ids) < 2 or shared.mplus.backbone.rope.changing:
        return alone
    count, _ = alone.begun(ids)
    cache: Any = (alone.known or TextCache()).begun(count)
    if rest := ids[count:-1]:
        read = torch.tensor([rest], device=shared.mplus.device)
        with alone.reading(shared):
            shared.mplus(read, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return replace(alone, known=TextCache.of(ids[:-1], cache))


def _likelihood(logits: Tensor, told: Sequence[int]) -> Likelihood:
    """Of tokens, by the logits [tokens, vocabulary] at each of their places."""
    ids = torch.tensor(told, device=logits.device)
    found = logits.log_softmax(dim=-1).gather(1, ids[:, None])
    greedy = bool((logits.argmax(dim=-1) == ids).all())
    return Likelihood(float(found.sum()), len(told), greedy=greedy)
