"""Keys: made and revoked while the server runs, kept as hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from memplus.errors import ConfigError, KeyExistsError, UsageError
from memplus.server.database import ServerDatabase
from memplus.server.principals import SCOPES, Principal, Scope, check_tenant

__all__ = ["SCHEMA", "Key", "Keys"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, tenant TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
    prefix TEXT NOT NULL, scopes TEXT NOT NULL, memory TEXT NOT NULL, gateway INTEGER NOT NULL,
    created REAL NOT NULL, revoked REAL
) STRICT;
"""
_MARK = "mp-"
_SHOWN = 7
_FIELDS = "id, name, tenant, prefix, scopes, memory, gateway, created, revoked"


@dataclass(frozen=True)
class Key:
    """A key without its secret."""

    id: str
    name: str
    tenant: str
    prefix: str
    """Its first characters, by which people know it again."""
    scopes: tuple[Scope, ...]
    memory: str
    gateway: bool
    created: float
    revoked: float | None

    @property
    def principal(self) -> Principal:
        """Its holder."""
        scopes = frozenset(self.scopes)
        return Principal(self.tenant, self.id, scopes, self.memory, self.gateway)


class Keys:
    """The keys of a server.

    Every method may raise ``StorageError``.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database

    def add(
        self,
        name: str,
        *,
        tenant: str = "",
        scopes: tuple[Scope, ...] = ("read", "write"),
        memory: str = "",
        gateway: bool = False,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is told only here.

        Args:
            name: for people.
            tenant: whose memories it reaches.
            scopes: what it may do.
            memory: its only memory, or a beginning of names that ends in ``*``; empty: all.
            gateway: whether its holder may speak for users by headers.

        Raises:
            ConfigError: a value that a key cannot have.
            KeyExistsError: the tenant has one of that name already.
        """
        check_tenant(tenant)
        if not name or not name.isprintable() or len(name) > 100:
            raise ConfigError("name", value=name, reason="it has 1 to 100 printable characters")
        if not scopes or set(scopes) - set(SCOPES):
            raise ConfigError("scopes", value=scopes, reason=f"they are of {', '.join(SCOPES)}")
        if "/" in memory:
            raise ConfigError("memory", value=memory, reason="a memory's name holds no '/'")
        secret = _MARK + secrets.token_urlsafe(32)
        key = Key(
            f"key_{secrets.token_hex(8)}", name, tenant, secret[:_SHOWN], tuple(scopes), memory,
            gateway, time.time(), None,
        )  # fmt: skip
        values = (
            key.id, name, tenant, _hashed(secret), key.prefix, " ".join(scopes), memory,
            int(gateway), key.created, None,
        )  # fmt: skip
        with self._database.transaction() as run:
            there = "SELECT 1 FROM keys WHERE name = ? AND tenant = ? AND revoked IS NULL"
            if run.execute(there, (name, tenant)).fetchone():
                raise KeyExistsError(name)
            run.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        return key, secret

    def all(self, tenant: str | None = None) -> list[Key]:
        """All keys, the oldest first, also revoked ones; of a tenant, or of all."""
        found = self._database.rows(f"SELECT {_FIELDS} FROM keys ORDER BY created, id")
        keys = [_key(row) for row in found]
        return keys if tenant is None else [key for key in keys if key.tenant == tenant]

    def revoke(self, name: str, *, tenant: str | None = None, by_name: bool = True) -> Key:
        """End a key at once.

        Args:
            name: its id, or, unless a key has that id, its name.
            tenant: whose key it is; None: anybody's.
            by_name: whether its name will do.

        Raises:
            UsageError: there is none of that name that is not revoked, or several tenants have one.
        """
        held = [key for key in self.all(tenant) if key.revoked is None]
        found = [key for key in held if key.id == name]
        if by_name and not found:
            found = [key for key in held if key.name == name]
        if not found:
            raise UsageError(f"There is no key named {name!r}. `memplus keys list` shows them.")
        if len(found) > 1:
            ids = ", ".join(f"{key.id} of {key.tenant or 'no tenant'}" for key in found)
            raise UsageError(f"Several tenants have a key named {name!r}; say its id: {ids}.")
        (key,) = found
        with self._database.transaction() as run:
            run.execute("UPDATE keys SET revoked = ? WHERE id = ?", (time.time(), key.id))
        return key

    def __bool__(self) -> bool:
        """Whether there has ever been a key: from then on every request needs one."""
        return self._database.row("SELECT 1 FROM keys LIMIT 1") is not None

    def holder(self, secret: str) -> Principal | None:
        """Whose key this is; None where it is none, or revoked."""
        digest = _hashed(secret)
        row = self._database.row(
            f"SELECT {_FIELDS}, hash FROM keys WHERE hash = ? AND revoked IS NULL", (digest,)
        )
        if row is None or not hmac.compare_digest(row["hash"], digest):
            return None
        return _key(row).principal


def _hashed(secret: str) -> bytes:
    """A key is 256 random bits, so a plain digest tells nothing of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _key(row: object) -> Key:
    values = dict(row)  # type: ignore[call-overload]
    values.pop("hash", None)
    values["scopes"] = tuple(values["scopes"].split())
    values["gateway"] = bool(values["gateway"])
    return Key(**values)
