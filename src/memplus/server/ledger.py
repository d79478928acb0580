"""What chats leave behind beside their memories: which turns are written, and kept answers.

The turns of a chat, the texts for its memory, the response, the items of its conversation and the
answer for a repeated request become true in one transaction, before the client gets the end of the
answer. No text is kept but those of kept answers and conversations; forgetting takes these away.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from memplus.server import chains, claims, kept_answers, kept_bytes, kept_conversations
from memplus.server.chains import Chains, Link, Place
from memplus.server.claims import Claims, Held
from memplus.server.database import ServerDatabase
from memplus.server.faults import Fault, RequestFault
from memplus.server.intake import Entry, Intake
from memplus.server.kept_answers import KeptAnswers, KeptResponse, Repeat
from memplus.server.kept_conversations import MADE, KeptConversations
from memplus.server.principals import Principal
from memplus.server.settings import ServerSettings
from memplus.server.threads import in_thread
from memplus.store.matching import holds

__all__ = ["SCHEMA", "Kept", "Ledger", "NewText", "Outcome", "Settled"]

SCHEMA = (
    chains.SCHEMA
    + claims.SCHEMA
    + kept_answers.SCHEMA
    + kept_conversations.SCHEMA
    + kept_bytes.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS forgettings (
    tenant TEXT NOT NULL, memory TEXT NOT NULL, mark INTEGER NOT NULL,
    PRIMARY KEY (tenant, memory)
) STRICT, WITHOUT ROWID;
"""
)
_DAY = 86400.0
_FORGOTTEN = "SELECT mark FROM forgettings WHERE tenant = ? AND memory = ?"
_FORGETS = "INSERT OR REPLACE INTO forgettings VALUES (?, ?, random())"
_PRUNE_AFTER = 500
"""Transactions after which what is too old or too many goes."""


@dataclass(frozen=True)
class NewText:
    """A text for a memory, and the links of the turns that it holds."""

    text: str
    links: tuple[Link, ...]
    without_answer: str | None = None
    """The same without what was just answered, to be written where the memory has forgotten
    something meanwhile; empty: nothing; None: the text holds no answer."""


@dataclass(frozen=True)
class Settled:
    """What is to become true together.

    Attributes:
        who: asked.
        place: of the chain.
        links: of all turns of the conversation; empty where nothing is to be written.
        gone: links that are known by texts which the memory has no more, and the texts' ids.
        texts: for the memory, in order.
        items: what turns are called that are items of a conversation which the server keeps.
        source: that they are written under.
        forgotten: what ``Ledger.forgotten`` told when the memory was read.
        present: whether the memory is there; asked inside the transaction, so that a memory that is
            deleted meanwhile leaves nothing behind.
    """

    who: Principal
    place: Place
    links: tuple[Link, ...] = ()
    gone: Mapping[Link, str] = field(default_factory=dict)
    texts: tuple[NewText, ...] = ()
    items: Mapping[str, Link] = field(default_factory=dict)
    source: str = "chat"
    forgotten: int = 0
    present: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Outcome:
    """What became of an exchange.

    Attributes:
        written: ids of the texts that are taken in.
        texts: these texts.
        gone: whether the memory is gone, and nothing is kept.
        forgotten: whether the memory has forgotten something since it was read. The answer may
            repeat it, so nothing is kept of the answer.
    """

    written: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    gone: bool = False
    forgotten: bool = False


@dataclass(frozen=True)
class Kept:
    """An answer, and what of it is kept."""

    body: dict[str, Any]
    response: KeptResponse | None = None
    conversation: str = ""
    """Id of the conversation that begins, or goes on; empty: none that is kept."""
    items: tuple[dict[str, Any], ...] = ()
    """For that conversation, which has begun."""
    repeat: Repeat | None = None


class Ledger:
    """Conversations' chains, stored responses, repeated requests.

    Args:
        database: where they are.
        settings: how many, how long.

    Attributes:
        chains: which turns are written.
        answers: kept responses and repeats.
        conversations: those that the server keeps for clients.
    """

    def __init__(self, database: ServerDatabase, settings: ServerSettings) -> None:
        self._database = database
        self._settings = settings
        self._count = 0
        self._claims = Claims(database)
        self.chains = Chains(database)
        self.answers = KeptAnswers(database)
        self.conversations = KeptConversations(database)

    def forgotten(self, place: Place) -> int:
        """Another number whenever the memory has forgotten something, or was made anew."""
        row = self._database.row(_FORGOTTEN, (place.tenant, place.memory))
        return 0 if row is None else int(row[0])

    def settle(self, settled: Settled, build: Callable[[Outcome], Kept]) -> Kept:
        """Make an exchange true, all of it or nothing.

        Args:
            settled: what is written.
            build: makes the answer, given what became of the exchange: turns that another request
                has settled meanwhile are not taken in again.

        Raises:
            StorageError: the disk refused; nothing is kept.
        """
        with self._database.transaction() as run:
            if not settled.present():
                return build(Outcome(gone=True))
            place = (settled.place.tenant, settled.place.memory)
            row = run.execute(_FORGOTTEN, place).fetchone()
            forgotten = (0 if row is None else row[0]) != settled.forgotten
            taken = self._take_in(run, settled, forgotten=forgotten)
            ids, texts = tuple(one.id for one in taken), tuple(one.text for one in taken)
            kept = build(Outcome(ids, texts, forgotten=forgotten))
            if forgotten:
                kept = replace(kept, response=None, items=(), repeat=None)
            self._put(run, settled, kept)
        self._count += 1
        if self._count % _PRUNE_AFTER == 0:
            self.prune()
        return kept

    @staticmethod
    def _take_in(run: sqlite3.Connection, settled: Settled, *, forgotten: bool) -> list[Entry]:
        """The texts that are to be written."""
        place = settled.place
        fresh = Chains.put(run, place, settled.links, settled.gone)
        entries: list[Entry] = []
        of_links: dict[Link, str] = {}
        for one in settled.texts:
            shorter = forgotten and one.without_answer is not None
            text = one.without_answer if shorter else one.text
            if text and fresh.issuperset(one.links):
                id = Intake.new_id()
                entries.append(Entry(id, place.tenant, place.memory, settled.source, text))
                of_links |= dict.fromkeys(one.links, id)
        Intake.put(run, entries)
        Chains.name(run, place, settled.links, fresh, of_links)
        return entries

    def _put(self, run: sqlite3.Connection, settled: Settled, kept: Kept) -> None:
        who, memory = settled.who, settled.place.memory
        most, most_bytes = self._settings.stored_responses, self._settings.stored_bytes
        if kept.response is not None:
            KeptAnswers.put(run, who, kept.response, most, most_bytes)
        if kept.conversation.startswith(MADE) or kept.items:  # one that had begun
            if KeptConversations.go_on(run, who, kept.conversation, memory):  # not deleted since
                KeptConversations.add(run, who, kept.conversation, kept.items, most_bytes)
                links = {item: link.id for item, link in settled.items.items()}
                KeptConversations.link(run, who, kept.conversation, links)
        elif kept.conversation:
            KeptConversations.begin(run, who, kept.conversation, memory, {}, most)
        if kept.repeat is not None:
            KeptAnswers.put_repeat(run, who, memory, kept.repeat, most, most_bytes)

    def pinned(self, who: Principal, conversation: str) -> str | None:
        """The memory that a conversation began with; empty: none; None: it has not begun.

        Raises:
            RequestFault: it is an id that the server made, and there is no such conversation.
        """
        if not conversation:
            return None
        found = self.conversations.one(who, conversation)
        if found is None and conversation.startswith(MADE):
            raise RequestFault.unknown("conversation of that id", "conversation_not_found")
        return None if found is None else found.memory

    def begin_conversation(
        self,
        who: Principal,
        id: str,
        memory: str | None,
        metadata: dict[str, Any],
        items: Sequence[dict[str, Any]],
    ) -> None:
        """Keep a new conversation.

        Raises:
            StorageError: the disk refused; nothing is kept.
        """
        with self._database.transaction() as run:
            most = self._settings.stored_responses
            KeptConversations.begin(run, who, id, memory, metadata, most)
            KeptConversations.add(run, who, id, items, self._settings.stored_bytes)

    def add_items(self, who: Principal, id: str, items: Sequence[dict[str, Any]]) -> bool:
        """Add items to a conversation that is kept; whether it is there still."""
        with self._database.transaction() as run:
            there = KeptConversations.go_on(run, who, id, None)
            if there:
                KeptConversations.add(run, who, id, items, self._settings.stored_bytes)
        return there

    def referred(self, who: Principal, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Items that the server made and keeps, as far as the principal may see them, by id."""
        if not ids or not who.may("read"):
            return {}
        return self.answers.answered(who, ids) | self.conversations.named(who, ids)

    # Requests that come again -------------------------------------------------------------------

    @asynccontextmanager
    async def once(
        self, who: Principal, name: str, request: dict[str, Any]
    ) -> AsyncGenerator[Repeat | None, None]:
        """Answer a request under an ``Idempotency-Key`` once, whichever servers it comes to.

        Args:
            who: asks.
            name: the key; empty: none.
            request: all that decides its answer.

        Yields:
            What was answered before, with a body; without one, what its answer is to be kept as;
            None: there is no such key.

        Raises:
            RequestFault: the key names another request, or one that is being answered.
        """
        if not name:
            yield None
            return
        hashed = self.chains.digest("repeat", who.key, name)
        digest = self.chains.digest("request", json.dumps(request, sort_keys=True, default=str))
        held = (who.tenant, who.key, hashed)

        def give_up(repeat: Repeat) -> None:
            if not repeat.body:
                self._claims.give_up(held)

        repeat = await in_thread(lambda: self._claimed(who, held, digest), give_up)
        try:
            yield repeat
        finally:
            await asyncio.shield(asyncio.to_thread(give_up, repeat))

    def _claimed(self, who: Principal, held: Held, digest: bytes) -> Repeat:
        """What was answered to a request before; else one without a body, which is claimed."""
        name, new = held[-1], False
        try:
            with self._database.transaction() as run:
                known = self.answers.repeated(who, name)
                taken = self._claims.taken(run, held) if known is None else known.digest
                if taken is not None and taken != digest:
                    raise RequestFault.reused_key()
                if known is not None:
                    return known
                if taken is not None:
                    message = "A request with this Idempotency-Key is being answered. Try again."
                    kind, code = "conflict_error", "idempotency_busy"
                    raise RequestFault(Fault(409, kind, message, code, retry_after=1.0))
                new = True
                self._claims.take(run, held, digest)
        except BaseException:
            if new:
                self._claims.give_up(held)
            raise
        return Repeat(name, digest)

    def close(self) -> None:
        """Nothing more is answered."""
        self._claims.close()

    # Letting go ---------------------------------------------------------------------------------

    def fork(self, stored: str, new: str) -> None:
        """A fork knows the turns of the memory that it was made of; answers are not its own."""
        with self._database.transaction() as run:
            Chains.fork(run, stored, new)

    def kept(self, stored: str) -> dict[str, int]:
        """How many of what ``forget`` would let go of."""
        tenant, _, memory = stored.rpartition("/")
        return {
            "responses": self.answers.count(tenant, memory),
            "conversation_items": self.conversations.count(tenant, memory),
        }

    def names(self, stored: str, match: str) -> bool:
        """Whether something that ``forget`` would let go of holds a text."""
        tenant, _, memory = stored.rpartition("/")
        kept = chain(self.answers.said(tenant, memory), self.conversations.said(tenant, memory))
        return any(holds(text, match) for one in kept for text in _texts_in(one))

    def forget(self, stored: str) -> dict[str, int]:
        """Let go of every text kept of a memory's chats; to be called when one is forgotten.

        Any answer may repeat what is forgotten, so all of the memory's go. Turns stay known as
        written: a client that sends them again does not bring them back.

        Args:
            stored: the memory's name in the store.

        Returns:
            How many of what went.
        """
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            run.execute(_FORGETS, (tenant, memory))
            gone = {
                "responses": KeptAnswers.drop(run, tenant, memory),
                "conversation_items": KeptConversations.empty(run, tenant, memory),
            }
        self._database.scrub()
        return gone

    def go_back(self, stored: str) -> None:
        """A memory is what it was: what an answer said was written may not be there any more, so a
        request that comes again is answered, and its turns written, anew."""
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            KeptAnswers.drop_repeats(run, tenant, memory)

    def begin_anew(self, stored: str) -> None:
        """No turn is written in a memory that is about to be made, whatever one of its name held
        that another program deleted."""
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            run.execute(_FORGETS, (tenant, memory))
            Chains.drop(run, tenant, memory)

    def drop(self, stored: str) -> None:
        """Let go of all that is kept of a memory that is deleted."""
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            Chains.drop(run, tenant, memory)
            run.execute("DELETE FROM forgettings WHERE tenant = ? AND memory = ?", (tenant, memory))
            KeptAnswers.drop(run, tenant, memory)
            KeptConversations.drop(run, tenant, memory)
        self._database.scrub()

    def prune(self) -> None:
        """Let go of what is too old or too many."""
        settings, now = self._settings, self._database.clock.now()
        with self._database.transaction() as run:
            Chains.prune(run, settings.known_turns, now - settings.known_turn_days * _DAY)
            KeptAnswers.prune(run, now - settings.response_days * _DAY)
            KeptConversations.prune(run, now - settings.response_days * _DAY)
        self._database.scrub()


def _texts_in(value: Any) -> Iterator[str]:
    """Every text in plain values, names of fields left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts_in(one)
