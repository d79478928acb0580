"""Bodies of the routes for keys and recent requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from memplus.server.principals import Scope
from memplus.server.wire.memories import Body
from memplus.server.wire.sound import FIRST

__all__ = ["KeyHeld", "KeyMade", "KeyShown", "NewKey", "RequestShown"]


class NewKey(Body):
    """A key to be made."""

    name: str = Field(min_length=1, max_length=100, description="For people.")
    scopes: Annotated[list[Scope], FIRST] = Field(default=["read", "write"], min_length=1)
    memory: str = Field(
        default="",
        max_length=200,
        description="Its only memory, or with * the beginning of their names.",
    )
    gateway: bool = Field(default=False, description="Believe its headers that name a user.")


class KeyShown(BaseModel):
    """A key without its secret."""

    id: str
    object: str = "key"
    name: str
    prefix: str = Field(description="The secret's first characters.")
    scopes: list[Scope]
    memory: str
    gateway: bool
    created: float
    revoked: float | None


class KeyHeld(BaseModel):
    """The key of a request."""

    id: str | None = Field(default=None, description="null: the server has no keys.")
    object: str = "key"
    name: str = ""
    prefix: str = ""
    scopes: list[Scope] = Field(description="All that it may: a larger scope holds the smaller.")
    memory: str = Field(default="", description="As of the key: its only memories.")
    required: bool = Field(default=True, description="Whether requests need a key.")


class KeyMade(KeyShown):
    """A new key with its secret, which is not shown again."""

    key: str


class RequestShown(BaseModel):
    """A request that was answered; what was said in it is not kept."""

    id: str
    object: str = "request"
    time: float
    method: str
    route: str
    status: int
    code: str = Field(description="Of its error; empty where there was none.")
    seconds: float
    key: str = Field(description="Id of the key.")
