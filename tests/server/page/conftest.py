"""One browser and one server for all tests of the page; each test is a tenant of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from tests.server.page.browser import CHROMIUM, Page, chromium
from tests.server.serving import Served, serving

from memplus.mplus.model import MPlus


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium with its driver here: apt-get install chromium chromium-driver")
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, nano: MPlus) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("page"), nano, keys=True) as one:
        yield one


@pytest.fixture
def key(served: Served) -> str:
    """A key of a tenant without memories."""
    return served.key(tenant=f"t{secrets.token_hex(4)}", scopes=("admin",))


@pytest.fixture
def page(browser: object, served: Served) -> Iterator[Page]:
    """The page, nobody signed in yet."""
    one = Page(browser, served.url)
    one.reset()
    yield one
    one.require_quiet()


@pytest.fixture
def inside(page: Page, key: str) -> Page:
    """The page, signed in."""
    page.sign_in(key)
    return page
