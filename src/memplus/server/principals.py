"""Who asks: a tenant, what its key may do, and to which memories."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from memplus.errors import ConfigError

__all__ = [
    "LONGEST_NAME",
    "NAMES",
    "NAME_RULE",
    "SCOPES",
    "Principal",
    "Scope",
    "check_tenant",
    "names_a_memory",
]

Scope = Literal["read", "write", "admin"]
"""``read``: ask and look; ``write``: also change memories; ``admin``: also keys."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
_LONGEST_TENANT = 64
LONGEST_NAME = 200
"""Characters of a new memory's name."""
_PLAIN = r"[^/\x00-\x1f\x7f]"
_SOLID = r"[^/\s\x00-\x1f\x7f]"
_NO_DOT = r"[^./\s\x00-\x1f\x7f]"
NAMES = rf"(?:{_NO_DOT}|\.{_NO_DOT}|(?:{_NO_DOT}|\.[^./\x00-\x1f\x7f]|\.\.){_PLAIN}*{_SOLID})"
"""No ``/``, no control character, no blank at an end, which a header loses on its way, and not
``.`` or ``..``, which lead elsewhere in a path: on some ways no client would reach the memory."""
NAME_RULE = (
    f"a new memory's name has 1 to {LONGEST_NAME} characters, none of them '/' or a control "
    "character, no blank at its beginning or end, and is not '.' or '..'"
)


@dataclass(frozen=True)
class Principal:
    """The holder of a key.

    Memories lie in the store as ``tenant/name``; those of the tenant without a name as ``name``.
    A name that a client gives holds no ``/``, so it never leaves the tenant.
    """

    tenant: str = ""
    key: str = ""
    """Id of the key; empty where the server has none."""
    scopes: frozenset[Scope] = frozenset(SCOPES)
    memory: str = ""
    """The only memory, or, with a ``*`` at its end, the beginning of the names of the only ones."""
    gateway: bool = False
    """Whether headers that name a user are believed."""

    def may(self, scope: Scope) -> bool:
        """Whether the key allows it; a larger scope holds the smaller ones."""
        return any(SCOPES.index(one) >= SCOPES.index(scope) for one in self.scopes)

    def sees(self, name: str) -> bool:
        """Whether a memory of the tenant is one of the key's."""
        if name in ("", ".", "..") or "/" in name:
            return False
        if self.memory.endswith("*"):
            return name.startswith(self.memory[:-1])
        return self.memory in ("", name)

    def covers(self, memory: str) -> bool:
        """Whether a key for these memories (see ``Keys.add``) reaches none but the key's own."""
        if not self.memory:
            return True
        if self.memory.endswith("*"):
            return memory.startswith(self.memory[:-1])
        return memory == self.memory

    @property
    def bound(self) -> str:
        """The one memory that the key is bound to; empty where it may choose."""
        return "" if self.memory.endswith("*") else self.memory

    def stored(self, name: str) -> str:
        """The name in the store of a memory of the tenant."""
        return f"{self.tenant}/{name}" if self.tenant else name

    def named(self, stored: str) -> str | None:
        """What the tenant calls a memory of the store; None where it is another's."""
        tenant, _, name = stored.rpartition("/")
        return name if tenant == self.tenant and self.sees(name) else None


def names_a_memory(name: str) -> bool:
    """Whether a new memory may be called so."""
    return len(name) <= LONGEST_NAME and re.fullmatch(NAMES, name) is not None


def check_tenant(tenant: str) -> None:
    """Refuse what no tenant can be called.

    Raises:
        ConfigError: it is too long, or holds a character that names in the store have for more.
    """
    if len(tenant) > _LONGEST_TENANT or "/" in tenant or not (tenant == "" or tenant.isprintable()):
        reason = f"it has at most {_LONGEST_TENANT} printable characters and no '/'"
        raise ConfigError("tenant", value=tenant, reason=reason)
