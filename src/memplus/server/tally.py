"""What is counted of each key, and which requests were answered last: all that a server knows of
its clients without keeping it on the disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from memplus.server.faults import Fault, RequestFault
from memplus.server.principals import Principal
from memplus.server.rates import Rates
from memplus.server.recent import Recent, RecentRequest
from memplus.server.settings import ServerSettings

__all__ = ["Admission", "Tally"]


@dataclass(frozen=True)
class Admission:
    """Whether a request may go on."""

    headers: dict[str, str] = field(default_factory=dict)
    """What is left of the key's minute, for the answer."""
    refusal: Fault | None = None
    """The key has had its share of this minute."""


class Tally:
    """Counts of one process, or of several that all ask this one.

    Args:
        settings: the bounds.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._rates = Rates(settings)
        self._recent = Recent(settings.recent_requests)

    def admit(self, who: Principal) -> Admission:
        """Count a request that begins."""
        refusal = None
        try:
            self._rates.enter(who)
        except RequestFault as error:
            refusal = error.fault
        return Admission(self._rates.headers(who), refusal)

    def answered(self, who: Principal, tokens: int, request: RecentRequest) -> None:
        """Count what a request cost that has ended, and keep it with the last ones."""
        self._rates.spend(who, tokens)
        self._recent.add(who.tenant, request)

    def recent(self, who: Principal) -> list[RecentRequest]:
        """The last requests, the newest first: all of the tenant for an admin, those of the key
        for others.

        Raises:
            RequestFault: they are kept elsewhere, and cannot be had right now.
        """
        return self._recent.of(who)
