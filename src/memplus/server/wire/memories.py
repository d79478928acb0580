"""Bodies of the routes for memories, and results of the tools."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    field_validator,
)
from pydantic_core import PydanticCustomError

from memplus.config import RowKind
from memplus.server.principals import LONGEST_NAME, NAME_RULE, NAMES, names_a_memory
from memplus.server.wire.sound import FIRST, Sound

__all__ = [
    "LONGEST_SOURCE",
    "Deleted",
    "Described",
    "ForgetRequest",
    "Forgotten",
    "ForkRequest",
    "Name",
    "NewMemory",
    "Page",
    "Refused",
    "RollbackRequest",
    "Source",
    "State",
    "Summary",
]

LONGEST_SOURCE = 500
Item = TypeVar("Item")


def _new(name: str) -> str:
    if not names_a_memory(name):
        raise PydanticCustomError("memory_name", NAME_RULE)
    return name


Name = Annotated[
    str,
    AfterValidator(_new),
    Field(json_schema_extra={"minLength": 1, "maxLength": LONGEST_NAME, "pattern": f"^{NAMES}$"}),
]
"""A new memory's name."""
SourceName = Annotated[str, StringConstraints(max_length=LONGEST_SOURCE)]
_MOST_METADATA = 16


def _few(sent: Any) -> Any:
    if isinstance(sent, dict) and len(sent) > _MOST_METADATA:  # before each is looked at
        raise PydanticCustomError("too_many", f"At most {_MOST_METADATA} values")
    return sent


Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    BeforeValidator(_few),
    Field(max_length=_MOST_METADATA),
]
"""At most 16 values of 512 characters, as in the API that clients know."""


class Body(Sound):
    """What is sent; fields that are not known are ignored, since clients add some every year."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | int | None = None
    last_id: str | int | None = None
    """To be given as ``after`` for what follows."""
    has_more: bool = False


class NewMemory(Body):
    """A memory to be made."""

    id: Name | None = Field(
        default=None, alias="name", description="Its name; without one it gets a new."
    )
    seed: StrictInt = Field(default=0, ge=0, lt=1 << 63, description="Decides what is dropped.")
    max_bytes: StrictInt | None = Field(
        default=None, ge=1, description="Refuse writes that make it larger."
    )
    rows: RowKind | None = None
    metadata: Metadata = Field(default_factory=dict)


class Summary(BaseModel):
    """A memory, without opening it."""

    id: str
    object: Literal["memory"] = "memory"
    created: float = Field(description="Seconds since 1970.")
    changed: float
    last_used: float | None = Field(description="Over this server; null: not since it was made.")
    model: str
    rows: str = Field(description="How long-term rows are kept.")
    writes: int = Field(description="Chunks that were written, forgotten ones counted.")
    tokens: int = Field(description="That were written.")
    waiting: int = Field(description="Tokens in the tail: read as text, not compressed yet.")
    bytes: int = Field(description="On the disk, what forks share counted in each.")
    metadata: dict[str, str]


class Source(BaseModel):
    """What is left of one source."""

    source: str
    writes: int
    tokens: int
    waiting: int


class Refused(BaseModel):
    """A text that was taken in and that the memory could not take."""

    id: str
    reason: str


class Described(Summary):
    """A memory and what it holds."""

    sources: list[Source]
    more_sources: int = Field(default=0, description="Sources beyond those that are listed.")
    short_term_rows: int = Field(description="Per layer.")
    long_term_rows: int = Field(description="Per layer.")
    ages: dict[str, int] = Field(description="Of short-term rows, in rows written since.")
    texts_waiting: int = Field(description="Said in chats, durable, on their way here.")
    texts_refused: list[Refused] = Field(description="The newest of them.")
    more_texts_refused: int = Field(default=0, description="Beyond those that are listed.")


class Deleted(BaseModel):
    """Something that is gone."""

    id: str
    object: str
    deleted: bool = True


class ForkRequest(Body):
    """A second memory that begins as the first."""

    id: Name = Field(alias="name", description="The fork's name.")


class RollbackRequest(Body):
    """Back to the state after a commit or a write; what came later is gone.

    Numbers of what is taken away are strict: ``true`` would be 1, and ``false`` the beginning.
    """

    commit: StrictInt | None = Field(default=None, ge=0, description="A `commit` of the history.")
    write: StrictInt | None = Field(
        default=None,
        ge=0,
        description="A `write` of the history, the newest state of that number; 0: the beginning.",
    )


class State(BaseModel):
    """A state that a memory can go back to."""

    commit: int = Field(description="Its number, which no other state has.")
    write: int = Field(description="Id of its last write.")
    tokens: int
    waiting: int
    what: str
    time: float = Field(description="Seconds since 1970.")


class ForgetRequest(Body):
    """What is to be forgotten: all that any of the fields names."""

    source: str | None = Field(default=None, description="Everything written under this name.")
    write: StrictInt | Annotated[list[StrictInt], FIRST] | None = Field(
        default=None, description="Ids of writes."
    )
    match: str | None = Field(
        default=None, min_length=1, max_length=1000, description="Words in the text."
    )
    rebuild: bool = Field(default=False, description="Write all others again: no trace stays.")
    dry_run: bool = Field(default=False, description="Only say what would go.")

    @field_validator("write")
    @classmethod
    def _some(cls, value: int | list[int] | None) -> int | list[int] | None:
        if isinstance(value, list) and not 0 < len(value) <= 10_000:
            raise ValueError("1 to 10000 ids can be named")
        return value


class Gone(BaseModel):
    """A write that goes, or has gone."""

    id: int
    source: str
    tokens: int
    text: str | None = Field(default=None, description="Its beginning, with `dry_run` only.")


class Forgotten(BaseModel):
    """What went, or with ``dry_run`` would go, and what stays elsewhere."""

    object: Literal["memory.forgotten"] = "memory.forgotten"
    memory: str
    dry_run: bool
    writes: list[Gone] = Field(description="At most 100 of them.")
    count: int = Field(description="How many writes.")
    tokens: int = Field(description="Of these writes.")
    tail_tokens: int = Field(description="Of the text that waits to be written.")
    rows: int | None = Field(default=None, description="Over all layers; null with `dry_run`.")
    remains_in: list[str] = Field(description="Forks and copies that hold some of the texts.")
    remains_elsewhere: bool = Field(
        description="Whether memories that this key does not see hold some of the texts."
    )
    all_checked: bool = Field(description="Whether every memory was looked through for them.")
    also_removed: dict[str, int] = Field(
        default_factory=dict,
        description="Stored responses and the like that held them, and texts that waited or were "
        "refused; before it is done, of these alone.",
    )
    seconds: float
