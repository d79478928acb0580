"""The model ``memplus`` of lm-evaluation-harness (``pip install "memplus[lm-eval]"``).

The harness's own command line, with this model in it::

    python -m memplus.lm_eval run --model memplus \\
        --model_args system=mplus,model=smollm2,marker=Question: --tasks TASK

In Python ``register()`` comes first, then ``lm_eval.simple_evaluate(model="memplus", ...)``. Which
arguments there are says ``Arguments``; ``memplus.evaluation.harness`` says what they do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict

from memplus.errors import ConfigError, LibraryMissingError, MemplusError
from memplus.evaluation.harness import Cut, HarnessModel, Request, Settings
from memplus.fields import checked
from memplus.mplus.model import MPlus
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

__all__ = ["NAME", "Arguments", "main", "register"]

NAME = "memplus"
"""Of the model, in the harness."""
_FIRST_GPU = "cuda:0"
_ESCAPES = {"\\n": "\n", "\\t": "\t"}


@dataclass(frozen=True)
class Arguments:
    """What ``--model_args`` may hold, and what the harness adds."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    system: str = "mplus"
    """``NAME[:OPTION=VALUE]...``, as for ``memplus bench``."""
    model: str = "nano"
    """A name, a directory or a hub id, as for every command."""
    marker: str = ""
    """What is asked begins where this stands last; all before it goes to the memory. ``\\n`` and
    ``\\t`` stand for a line's end and a tab."""
    last_tokens: int | None = None
    """Instead of a marker: so many tokens are asked, all before them goes to the memory."""
    keep_marker: bool = True
    """Whether the marker itself is asked with the rest."""
    seed: int = 0
    """Of the sessions."""
    window: int = 256
    """Tokens that are predicted at once where a whole text is scored."""
    template: bool = False
    """Whether a continuation is scored after a question in the model's template; generated answers
    always follow one."""
    flush: bool = False
    """Whether what fills no chunk is taken in too; it else stays as text before what is asked."""
    dtype: str | None = None
    """Of the weights: what suits the device."""
    device: str | None = None
    """The CPU where none is named."""
    batch_size: int | str | None = None
    """Most questions about one memory that are asked together; 8 by default."""
    max_batch_size: int | None = None
    """Is accepted, and has no effect."""


class _Door:
    """The harness's class for models, which ``register`` puts beneath it, over a ``HarnessModel``.

    Raises:
        ConfigError: an argument is unknown or cannot be so.
        ModelError: the model cannot be loaded.
    """

    cache_hook: Any

    def __init__(self, **given: Any) -> None:
        super().__init__()
        asked = checked(Arguments, given)
        marker = asked.marker
        for written, meant in _ESCAPES.items():
            marker = marker.replace(written, meant)
        cut = Cut(marker, asked.last_tokens, asked.keep_marker)
        settings = Settings(
            asked.seed, _batch(asked.batch_size), asked.window, asked.template, asked.flush
        )
        device = _device(asked.device)
        model = MPlus.from_pretrained(asked.model, dtype=asked.dtype, device=device).eval()
        shared = Shared(lambda: model)
        (system,) = make_systems([asked.system], shared)
        self.answers = HarnessModel(system, shared.reference, cut, settings, self._answered)
        self._placed = {"system_device": str(model.device)}
        self._bar: Any = None

    @contextmanager
    def _watched(self, requests: list[Request]) -> Iterator[None]:
        """With a bar on standard error."""
        with import_module("tqdm").tqdm(total=len(requests), desc=self.answers.system.name) as bar:
            self._bar = bar
            yield

    def _answered(self, kind: str, args: tuple[Any, ...], answer: object) -> None:
        """The harness keeps it where ``--use_cache`` asks for that."""
        self.cache_hook.add_partial(kind, args, answer)
        self._bar.update()

    def generate_until(self, requests: list[Request]) -> list[str]:
        """See ``HarnessModel.generate_until``."""
        with self._watched(requests):
            return self.answers.generate_until(requests)

    def loglikelihood(self, requests: list[Request]) -> list[tuple[float, bool]]:
        """See ``HarnessModel.loglikelihood``."""
        with self._watched(requests):
            return self.answers.loglikelihood(requests)

    def loglikelihood_rolling(self, requests: list[Request]) -> list[float]:
        """See ``HarnessModel.loglikelihood_rolling``."""
        with self._watched(requests):
            return self.answers.loglikelihood_rolling(requests)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside its results: what they depend on, and what they took."""
        return {**self.answers.identity, **self._placed, "cost": self.answers.cost.to_dict()}

    def apply_chat_template(self, *_: object, **__: object) -> str:
        """Refused: a context that is cut in two has no place for it.

        Raises:
            ConfigError: always.
        """
        reason = "what is asked is put in the model's template already, after the cut"
        raise ConfigError("apply_chat_template", value=True, reason=reason)

    @property
    def tokenizer_name(self) -> str:
        """Whose contexts these are, for the harness's cache of requests."""
        return self.answers.system.model


@cache
def register() -> Any:
    """Make the model known to the harness; again does no more.

    Returns:
        Its class.

    Raises:
        LibraryMissingError: the harness is not installed.
    """
    if find_spec("lm_eval") is None:
        raise LibraryMissingError("lm-evaluation-harness", extra="lm-eval")
    base = import_module("lm_eval.api.model").LM
    kind = type("MemplusLM", (_Door, base), {"__doc__": _Door.__doc__, "__module__": __name__})
    return import_module("lm_eval.api.registry").register_model(NAME)(kind)


def main() -> None:
    """The harness's own command line; what memplus refuses is said in its words."""
    try:
        register()
        import_module("lm_eval.__main__").cli_evaluate()
    except MemplusError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _device(given: str | None) -> str:
    """As the harness names it: the first GPU is its default, whether there is one or not."""
    return given if given and (given != _FIRST_GPU or torch.cuda.is_available()) else "cpu"


def _batch(given: int | str | None) -> int:
    """As the harness names it.

    Raises:
        ConfigError: it is no number.
    """
    if given in (None, "auto"):
        return Settings().batch
    try:
        return int(str(given))
    except ValueError as error:
        raise ConfigError("batch_size", value=given, reason="it is no whole number") from error


if __name__ == "__main__":
    main()
