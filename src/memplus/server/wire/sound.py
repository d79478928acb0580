"""What every body has to be before its fields are looked at: JSON that an answer can repeat.

Python's reader of JSON takes more than that: half characters (``"\\ud800"``), which no UTF-8 holds,
and ``NaN`` and ``Infinity``. Where a field takes anything, such a value would only be found when it
is stored or sent back, which is after the turn that came with it was written.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import BaseModel, FailFast, model_validator

from memplus.memory.written_text import require_text
from memplus.server.faults import RequestFault

__all__ = ["FIRST", "Sound", "require_sound"]


class _First(FailFast):
    """The library's own has no hash, which kinds in a union need."""

    __hash__ = object.__hash__


FIRST = _First()
"""Of a list: only its first fault is looked for. Clients are told of one alone, and to describe a
hundred thousand takes seconds."""


def require_sound(sent: Any) -> None:
    """Refuse what no answer could repeat, wherever it stands.

    Args:
        sent: as it was read from JSON.

    Raises:
        BrokenTextError: half a character, in a text or in the name of a field.
        RequestFault: a number that JSON does not have.
    """
    try:  # written again in one go, which takes a hundredth of a walk through all values
        json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        _find_unsound(sent)


def _find_unsound(sent: Any) -> None:
    """Refuse the first part that is unsound, by its name; raises as ``require_sound``."""
    waiting: list[tuple[Any, Any]] = [(sent, ())]
    while waiting:  # by a list, not by calls: it may be nested deeply
        value, place = waiting.pop()
        if isinstance(value, str):
            if not _whole(value):
                require_text(value, _named(place))
        elif isinstance(value, float):
            if not math.isfinite(value):
                name = _named(place)
                raise RequestFault.invalid(f"{name}: {value} is no number of JSON.", name)
        elif isinstance(value, dict):
            for name, one in value.items():
                if isinstance(name, str) and not _whole(name):
                    require_text(name, f"The name of a field in {_named(place)}")
                waiting.append((one, (place, name)))
        elif isinstance(value, list):
            waiting.extend((one, (place, index)) for index, one in enumerate(value))


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(place: Any) -> str:
    """The name of a field from the places of those that it stands in."""
    parts: list[str] = []
    while place:
        place, part = place
        parts.append(str(part))
    return ".".join(reversed(parts)) or "The body"


class Sound(BaseModel):
    """A body of which every part is sound, also fields that take anything or are not known.

    What stands inside a body is looked at with it, so the models of its parts are none of these.
    """

    @model_validator(mode="before")
    @classmethod
    def _sound(cls, sent: Any) -> Any:
        require_sound(sent)
        return sent
