"""Items that are made when they are asked for, so many that none need come twice.

Numbers and names only: no tensors and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar, overload

from memplus.errors import ConfigError

__all__ = ["EndlessItems"]

_Made = TypeVar("_Made")
_LENGTH = 1_000_000
"""Items of a source: more than any run draws."""
_KEPT = 16_384
"""Items made last: more than a process's documents remember at once."""
_ATTEMPTS = 100


class EndlessItems(Sequence[_Made], Generic[_Made]):
    """A long sequence of which only what was asked for last is kept.

    Args:
        name: of the source, for errors.
        make: the item of an index, always the same; further attempts make another one in its
            place. None: it is too long.
        topics: item ``index`` is of topic ``index`` modulo their number.
    """

    def __init__(
        self, name: str, make: Callable[[int, int], _Made | None], topics: Sequence[str]
    ) -> None:
        self._name = name
        self._make = make
        self._topics = tuple(topics)
        self._made = lru_cache(maxsize=_KEPT)(self._first_short)

    def __len__(self) -> int:
        return _LENGTH

    @overload
    def __getitem__(self, index: int) -> _Made: ...
    @overload
    def __getitem__(self, index: slice) -> list[_Made]: ...
    def __getitem__(self, index: int | slice) -> _Made | list[_Made]:
        """An item, or a list of some.

        Raises:
            IndexError: there are fewer.
            ConfigError: everything in an item's place is too long.
        """
        places = range(_LENGTH)[index]
        if isinstance(places, range):
            return [self._made(place) for place in places]
        return self._made(places)

    def of_topic(self, topic: str) -> range:
        """Places of the items on a topic; empty where it is another source's."""
        if topic not in self._topics:
            return range(0)
        return range(self._topics.index(topic), _LENGTH, len(self._topics))

    def _first_short(self, index: int) -> _Made:
        for attempt in range(_ATTEMPTS):
            made = self._make(index, attempt)
            if made is not None:
                return made
        reason = "nothing in it is short enough"
        raise ConfigError("sources", value=self._name, reason=reason)
