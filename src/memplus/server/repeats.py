"""An answer, or the one that was given to the same request before."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from memplus.server.engine.requests import Piece
from memplus.server.exchange import Ask, Ended, Exchange
from memplus.server.kept_answers import Repeat
from memplus.server.ledger import Kept
from memplus.server.services import Services

__all__ = ["answered", "retried"]


def retried(headers: Mapping[str, str]) -> bool:
    """Whether a client says that it repeats itself, as the stock one does."""
    return headers.get("x-stainless-retry-count", "") not in ("", "0")


async def answered(
    services: Services,
    ask: Ask,
    request: tuple[str, dict[str, Any]],
    build: Callable[[Ended, Repeat | None], Kept],
) -> AsyncGenerator[Piece | Kept, None]:
    """The pieces of an answer and its end; of a request that comes again, the end it had alone.

    Args:
        services: the server's parts.
        ask: what is asked.
        request: the ``Idempotency-Key``, empty for none, and all that decides the answer.
        build: makes the answer that is kept and sent.

    Raises:
        RequestFault: see ``Ledger.once`` and ``Exchange.run``.
    """
    name, counts = request
    counts = counts | {"memory": ask.memory, "chain": ask.conversation}
    async with services.ledger.once(ask.who, name, counts) as repeat:
        if repeat is not None and repeat.body:
            yield Kept(repeat.body)
            return
        keep = repeat if ask.keep else None
        exchange = Exchange(services, ask, lambda ended: build(ended, keep))
        async with aclosing(exchange.run()) as items:
            async for item in items:
                yield item
