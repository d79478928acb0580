from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.server.preloaded import Preloader
from tests.server.serving import Served, serving

from memplus.mplus.model import MPlus
from memplus.server.beside import SCHEMA
from memplus.server.database import ServerDatabase
from memplus.store import MemoryStore


@pytest.fixture(scope="session")
def nano() -> MPlus:
    return MPlus.from_pretrained("nano").eval()


@pytest.fixture(scope="session")
def preloader() -> Iterator[Preloader]:
    """Forks servers that are to be ended; importing everything once takes the longest."""
    with Preloader() as made:
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, nano: MPlus) -> Iterator[Served]:
    """A server without keys that the tests of a module share; each has memories of its own."""
    with serving(tmp_path_factory.mktemp("store"), nano) as made:
        yield made


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory, nano: MPlus) -> Iterator[Served]:
    """One server with keys, which the tests of many tenants share."""
    with serving(tmp_path_factory.mktemp("keyed"), nano, keys=True) as running:
        yield running


@pytest.fixture
def client(keyed: Served) -> Iterator[httpx.Client]:
    """A client of a tenant that nobody has used before."""
    with keyed.client(keyed.key(f"t{len(keyed.services.keys.all())}")) as made:
        yield made


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ServerDatabase]:
    """What a server keeps beside the memories of a new store."""
    MemoryStore(tmp_path)
    made = ServerDatabase(tmp_path, SCHEMA)
    yield made
    made.close()
