"""One exchange of a chat: read the memory, answer, and keep what was said before the answer ends.

The order, and what it promises: the answer comes first; before its last event the new turns, the
conversation's chain and the kept answer are on the disk, all of them or none; then they are brought
to the memory. Whoever has the end of an answer finds in the memory what it was told was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from memplus.errors import MemoryExistsError
from memplus.memory.state import Memory
from memplus.server.actions.questions import drawn
from memplus.server.chains import Link, Place
from memplus.server.engine.requests import Finished, Piece, ReadRequest, Sampling, TokenScore
from memplus.server.faults import RequestFault, fault_of
from memplus.server.ledger import Kept, NewText, Outcome, Settled
from memplus.server.measured import charge
from memplus.server.naming import background_task, chain_name, named_memory
from memplus.server.principals import Principal
from memplus.server.prompts import Message, Prompt, check_messages, make_prompt, texts_of, turns_of
from memplus.server.room import has_room
from memplus.server.services import Services
from memplus.server.wire.fields import Sampled, served_model, stops
from memplus.sessions.turns import NOTED, declines
from memplus.store import StoredMemory

__all__ = ["Ask", "Ended", "Exchange", "asked"]


@dataclass(frozen=True)
class Ask:
    """What a request asks for, whichever route it came by."""

    who: Principal
    memory: str | None
    """None: the plain model."""
    messages: tuple[Message, ...]
    """The whole conversation."""
    conversation: str = ""
    """Whose chain the turns belong to; empty: the memory's."""
    answer_item: str = ""
    """Id of the item that the answer will be in a conversation which the server keeps."""
    keep: bool = True
    """Whether turns may be written, as far as the request says."""
    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    evidence: bool = False
    min_confidence: float = 0.0


def asked(
    services: Services,
    who: Principal,
    headers: Mapping[str, str],
    body: Sampled,
    pinned: str | None,
) -> Ask:
    """What chats and responses ask for alike; messages, and what else differs, are to be added.

    Args:
        services: the server's parts.
        who: asks.
        headers: by their names in lower case.
        body: what the request says.
        pinned: the memory that the conversation began with, as in ``Names``.

    Raises:
        RequestFault: another model is served; see ``named_memory``, ``chain_name`` and ``stops``.
    """
    names = body.names(served_model(body.model, services.model_name), pinned)
    return Ask(
        who=who,
        memory=named_memory(who, headers, names, services.settings.gateway_secret),
        messages=(),
        conversation=chain_name(headers, body.conversation_id),
        keep=body.store is not False and not background_task(headers),
        temperature=body.temperature or 0.0,
        top_p=body.top_p or 1.0,
        seed=body.seed,
        stop=stops(body.stop),
        evidence=body.asked.evidence,
        min_confidence=body.asked.min_confidence,
    )


@dataclass(frozen=True)
class Ended:
    """An answer that is whole, about to be kept."""

    text: str
    finished: Finished
    memory: dict[str, Any]
    """What the answer says of its memory."""
    tokens: list[TokenScore] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """What will be written if the answer comes to its end."""

    turns: list[Message]
    links: list[Link]
    noted: dict[Link, str] = field(default_factory=dict)
    """Links that are there, and ids of the texts that wrote them."""
    known: set[Link] = field(default_factory=set)
    """Those of which the memory still has what they wrote, or will have."""
    forgotten: int = 0
    """What the ledger told of the memory before it was read."""
    refused: set[Link] = field(default_factory=set)
    """Known ones of which the memory could not take what they would have written."""

    @property
    def held(self) -> list[Message]:
        there = self.known - self.refused
        return [one for one, link in zip(self.turns, self.links) if link in there]

    @property
    def gone(self) -> dict[Link, str]:
        """Links whose texts the memory has no more."""
        return {link: entry for link, entry in self.noted.items() if link not in self.known}

    @property
    def fresh(self) -> bool:
        return any(
            one.role == "user" and link not in self.known
            for one, link in zip(self.turns, self.links)
        )


class Exchange:
    """Answers one request.

    Args:
        services: the server's parts.
        ask: what is asked.
        build: makes the answer that is kept and sent, once all of it is known.
    """

    def __init__(self, services: Services, ask: Ask, build: Callable[[Ended], Kept]) -> None:
        self.services = services
        self.ask = ask
        self._build = build
        self._place = Place(ask.who.tenant, ask.memory or "", ask.conversation)
        self._keep = ask.memory is not None and ask.keep and ask.who.may("write")
        self._created = False
        self._full = False
        self._state = 0
        self._text = ""
        self._tokens: list[TokenScore] = []

    async def run(self) -> AsyncGenerator[Piece | Kept, None]:
        """The pieces of the answer, and at its end, when it is on the disk, all of it."""
        check_messages(self.ask.messages)
        plan = await self._planned()
        async with AsyncExitStack() as stack:
            memory = await self._opened(stack, plan)
            plan = await asyncio.to_thread(self._compared, plan, memory)
            prompt = await asyncio.to_thread(self._prompt, plan)
            finished = Finished("stop", 0, 0)
            async with aclosing(self._spoken(memory, prompt)) as spoken:
                async for item in spoken:
                    if isinstance(item, Finished):
                        finished = item
                        continue
                    self._text += item.text
                    self._tokens += item.tokens
                    yield item
            self._full = await asyncio.to_thread(self._filled, plan, memory)
        yield await asyncio.shield(asyncio.create_task(self._settled(plan, prompt, finished)))

    async def _planned(self) -> _Plan:
        turns = turns_of(self.ask.messages)
        chains = self.services.ledger.chains
        said = [(one.role, one.text) for one in turns]
        name, vault = self.ask.memory, self.services.vault
        if name is None or not await vault.exists(self.ask.who, name):
            # What is noted is of a memory that is gone.
            return _Plan(turns, chains.links(self._place, said))
        kept = [one.link for one in turns]
        forgotten = await asyncio.to_thread(self.services.ledger.forgotten, self._place)
        links = await asyncio.to_thread(chains.placed, self._place, said, kept)
        noted = await asyncio.to_thread(chains.known, self._place, links)
        return _Plan(turns, links, noted, set(noted), forgotten)

    def _compared(self, plan: _Plan, memory: Memory | None) -> _Plan:
        """The plan, given which of the noted texts the memory has, or will have."""
        noted = {entry for entry in plan.noted.values() if entry}
        if not noted or not isinstance(memory, StoredMemory):
            return plan
        here = self.services.intake.among(self._place.tenant, self._place.memory, noted)
        there = here.keys() | memory.held_labels(noted - here.keys())
        known = {link for link, entry in plan.noted.items() if not entry or entry in there}
        refused = {link for link, entry in plan.noted.items() if here.get(entry)}
        return replace(plan, known=known, refused=refused)

    async def _opened(self, stack: AsyncExitStack, plan: _Plan) -> Memory | None:
        """The memory as it is now; one that is about to be made is empty."""
        name, who, vault = self.ask.memory, self.ask.who, self.services.vault
        if name is None:
            if not who.may("read"):
                raise RequestFault.forbidden("This key has no scope 'read'.")
            return None
        if not await vault.exists(who, name):
            if not (self._keep and plan.fresh and who.sees(name)):
                raise RequestFault.unknown_memory(name)
            await vault.check_new(who, name)
            self._created = True
            most = self.services.settings.memory_bytes or None
            return await asyncio.to_thread(self.services.model.new_memory, max_bytes=most)
        memory = await stack.enter_async_context(vault.reading(who, name))
        self._state = memory.keeper.manifest.commit
        return memory

    def _prompt(self, plan: _Plan) -> Prompt:
        held = plan.held if self.ask.memory is not None else []
        window = self.services.settings.window_tokens
        messages = self.ask.messages
        return make_prompt(self.services.model, messages, held=held, kept=self._keep, window=window)

    # The answer ---------------------------------------------------------------------------------

    async def _spoken(
        self, memory: Memory | None, prompt: Prompt
    ) -> AsyncGenerator[Piece | Finished, None]:
        model = self.services.model
        if prompt.note:
            yield Piece(prompt.note)
            said = len(await asyncio.to_thread(model.encode, prompt.note))
            yield Finished("stop", len(prompt.ids), said)
            return
        request = self._request(memory, prompt)
        waiting: list[Piece] = []
        holding = prompt.declined
        async with aclosing(self.services.engine.read(request)) as answer:
            async for item in answer:
                if isinstance(item, Piece) and holding:
                    waiting.append(item)
                    if holding.startswith("".join(one.text for one in waiting)):
                        continue
                    holding = ""
                elif not isinstance(item, Finished):
                    yield item
                    continue
                if holding and declines(model, "".join(one.text for one in waiting)):
                    waiting = [Piece(NOTED)]
                for one in waiting:
                    yield one
                waiting = []
                if isinstance(item, Finished):
                    yield item

    def _request(self, memory: Memory | None, prompt: Prompt) -> ReadRequest:
        ask, core = self.ask, self.services.model.core
        wanted = ask.max_new_tokens or self.services.settings.answer_tokens
        taken = 0 if memory is None else core.prefix_length(memory) + len(memory.tail)
        room = core.positions - taken - len(prompt.ids)
        sampling = Sampling(
            max_new_tokens=max(1, min(wanted, room)),
            temperature=ask.temperature,
            top_p=ask.top_p,
            seed=ask.seed,
            stop=(*prompt.stop, *ask.stop),
            logprobs=ask.logprobs,
        )
        return ReadRequest(
            memory,
            prompt.ids,
            sampling,
            asking=prompt.asking,
            evidence=memory is not None,  # its attention gives the confidence
            min_confidence=ask.min_confidence if memory is not None else 0.0,
        )

    # Its end ------------------------------------------------------------------------------------

    def _filled(self, plan: _Plan, memory: Memory | None) -> bool:
        """Whether the memory has no room for what would be written: it is not even taken in."""
        new = [one.text for one in self._texts(plan, self._text.strip())] if self._keep else []
        if memory is None or not new:
            return False
        waiting = self.services.intake.texts(self._place.tenant, self._place.memory)
        return not has_room(self.services.model, memory, [*waiting, *new], Settled.source)

    async def _settled(self, plan: _Plan, prompt: Prompt, finished: Finished) -> Kept:
        """Keep what was said; nothing of it is written twice."""
        refused = await self._made() if self._keep else ""
        if self._full:
            refused = refused or "memory_full"
        keeping = self._keep and not refused
        text = self._text.strip()
        texts = await asyncio.to_thread(self._texts, plan, text) if keeping else []
        links = self._links(plan, text) if keeping else []
        turns = self._turns(plan, text)
        forgotten = plan.forgotten
        if self._created:  # an empty memory has nothing to forget
            forgotten = await asyncio.to_thread(self.services.ledger.forgotten, self._place)
        settled = Settled(
            self.ask.who,
            self._place,
            tuple(links),
            plan.gone,
            tuple(texts),
            {one.item: link for one, link in zip(turns, links) if one.item and one.link != link.id},
            forgotten=forgotten,
            present=self._present,
        )

        taken: list[str] = []

        def build(outcome: Outcome) -> Kept:
            taken.extend(outcome.texts)
            why = "memory_not_found" if outcome.gone else refused
            durable = keeping and not (why or plan.refused)
            report = self._report(outcome, prompt, finished, why, durable=durable)
            return self._build(Ended(self._text, finished, report, self._tokens))

        kept = await asyncio.to_thread(self.services.ledger.settle, settled, build)
        if taken:
            charge(await asyncio.to_thread(self._tokens_of, taken))
        if texts:
            self.services.intake.work(self._place.tenant, self._place.memory)
        return kept

    def _tokens_of(self, texts: Sequence[str]) -> int:
        """How many will be written, though not before the request ends."""
        return sum(len(self.services.model.encode(one)) for one in texts)

    async def _made(self) -> str:
        """Make the memory where there was none; why nothing can be written, or nothing."""
        who, name, vault = self.ask.who, self._place.memory, self.services.vault
        try:
            if self._created:
                await vault.create(who, name)
        except MemoryExistsError:
            pass  # made meanwhile, by another request
        except RequestFault as error:
            return fault_of(error).code
        return ""

    def _present(self) -> bool:
        """Whether the memory, where there is one, was not deleted meanwhile."""
        name = self.ask.memory
        return name is None or self.ask.who.stored(name) in self.services.store

    def _turns(self, plan: _Plan, text: str) -> list[Message]:
        """All turns, the answer with them."""
        said = [Message("assistant", text, self.ask.answer_item)] if text else []
        return [*plan.turns, *said]

    def _links(self, plan: _Plan, text: str) -> list[Link]:
        """The links of all turns, the answer's with them."""
        said = [("assistant", text)] if text else []
        last = plan.links[-1]
        return [*plan.links, *self.services.ledger.chains.links(self._place, said, last)]

    def _texts(self, plan: _Plan, text: str) -> list[NewText]:
        """The texts of the turns that are new, one for each exchange.

        A new answer to a question that is written already says the question again: alone it would
        tell a reader nothing.
        """
        model, replies = self.services.model, self.services.settings.write_replies
        turns = self._turns(plan, text)
        links = self._links(plan, text)
        found: list[NewText] = []
        for group in _exchanges(turns):
            new = [
                at for at in group
                if links[at] not in plan.known and (turns[at].role == "user" or replies)
            ]  # fmt: skip
            if not new:
                continue
            said = [turns[at] for at in group if at <= new[-1]]
            shorter: str | None = None
            if text and new[-1] == len(turns) - 1:
                shorter = "".join(texts_of(model, [turns[at] for at in new[:-1]]))
            for made in texts_of(model, said):
                found.append(NewText(made, tuple(links[at] for at in new), shorter))
        return found

    def _report(
        self, outcome: Outcome, prompt: Prompt, finished: Finished, refused: str, *, durable: bool
    ) -> dict[str, Any]:
        """What the answer says of its memory."""
        ask = self.ask
        measured = ask.memory is not None and not prompt.note
        evidence = [drawn(one).model_dump() for one in finished.evidence]
        report: dict[str, Any] = {
            "id": ask.memory,
            "state": self._state,
            "written": list(outcome.written),
            "durable": durable,
            "confidence": finished.confidence if measured else None,
            "evidence": evidence if ask.evidence else None,
        }
        place, intake = (self._place.tenant, self._place.memory), self.services.intake
        before = {} if ask.memory is None else intake.refused(*place)
        if refused or before:
            report["refused"] = before | ({"now": refused} if refused else {})
        if before and (more := intake.more_refused(*place)):
            report["more_refused"] = more
        if outcome.forgotten:
            report["forgotten"] = True
        if prompt.left_out:
            report["left_out"] = prompt.left_out
        if finished.withheld:
            report["withheld"] = finished.withheld
        return report


def _exchanges(turns: Sequence[Message]) -> list[list[int]]:
    """Places of turns that belong together: a question, and the answer that follows it."""
    found: list[list[int]] = []
    for at, one in enumerate(turns):
        if one.role == "assistant" and found and turns[found[-1][-1]].role == "user":
            found[-1].append(at)
        else:
            found.append([at])
    return found
