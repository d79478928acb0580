"""What the page lets go: what was another's, what is forgotten, what cannot be sent."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from tests.server.page.browser import Page
from tests.server.page.test_page import ASKED, BOILER, CAT, CODE, written
from tests.server.serving import Served

from memplus.errors import MemplusError

AWAY = """
window.kept ??= window.fetch;
window.fetch = (...given) => given[0] === "ready" ? Promise.reject() : window.kept(...given);
dispatchEvent(new Event("unreachable"));
"""
BACK = "window.fetch = window.kept; dispatchEvent(new Event('unreachable'));"
HOLD = """
const ending = arguments[0];
window.kept ??= window.fetch;
window.tell = null;
window.fetch = (...given) => given[0].endsWith(ending)
  ? window.kept(...given).then((one) => new Promise((told) => { window.tell = () => told(one); }))
  : window.kept(...given);
"""
"""Answers of such an address come when ``window.tell`` is called."""
HELD = "return Boolean(window.tell)"
STATE = "return document.getElementById('state').innerText"


@pytest.fixture
def other(served: Served) -> str:
    """A key of another tenant."""
    return served.key(tenant=f"t{secrets.token_hex(4)}", scopes=("admin",))


def go(page: Page, tab: str) -> None:
    """To a tab of the memory without loading the page again, which would empty it anyway."""
    page.script("location.hash = arguments[0]", f"#/memories/household/{tab}")
    page.until(lambda: page.all(f".tab.{tab}"))


def another(page: Page, key: str) -> None:
    """Sign out, and in with another key, in the same tab and without loading the page again."""
    page.click("Sign out")
    page.until(lambda: page.heading == "Sign in")
    page.field("Key").send_keys(key, Keys.ENTER)
    page.until(lambda: page.heading != "Sign in")


def test_who_signs_in_next_sees_nothing_that_was_asked(
    served: Served, inside: Page, key: str, other: str
) -> None:
    written(served, key, house=CODE)
    written(served, other)
    inside.memory("household")
    inside.field("Question").send_keys(ASKED, Keys.ENTER)
    inside.shows("4471", "What it stands on")
    another(inside, other)
    go(inside, "write")
    go(inside, "ask")
    assert "4471" not in inside.text


def test_who_signs_in_next_goes_on_with_nothing_of_the_last_one(
    served: Served, inside: Page, key: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(served, key)
    written(served, other)

    async def failing(*_: object, **__: object) -> object:
        raise MemplusError("it fails")

    with monkeypatch.context() as patched:
        patched.setattr(served.services.engine, "write", failing)
        inside.memory("household", "write")
        inside.field("Text").send_keys(CODE)
        inside.click("Write the text")
        inside.shows("0 of 1 part are written", "Go on")
    another(inside, other)
    go(inside, "ask")
    go(inside, "write")
    assert "Go on" not in inside.text


def test_what_is_forgotten_stands_in_no_answer_and_is_offered_no_more(
    served: Served, inside: Page, key: str
) -> None:
    written(served, key, house=CODE, pets=CAT, boiler=BOILER)
    inside.memory("household")
    inside.field("Question").send_keys(ASKED, Keys.ENTER)
    inside.shows("4471", "What it stands on")
    with served.client(key) as client:

        def tokens() -> int:
            held = client.get("/v1/memories/household").json()
            return int(held["tokens"] + held["waiting"])

        go(inside, "forget")
        for source in ("house", "pets"):
            inside.field("Source").send_keys(source)
            before = tokens()
            gone = client.post(
                "/v1/memories/household/forget", json={"source": source, "dry_run": True}
            ).json()
            inside.click("Show what would go")
            left = before - gone["tokens"] - gone["tail_tokens"]
            inside.shows("Would go: 1 write", f"Here: {left} token")
            inside.click("Forget 1 write")
            inside.shows("Forgotten: 1 write")
            inside.shows(f"Here remain {tokens()} token")
            offered = [one.text for one in inside.all("select option")]
            assert offered[0] == "Choose a source"
            assert source not in offered
    go(inside, "ask")
    assert "4471" not in inside.text


def test_a_key_that_cannot_be_one_is_refused_and_another_one_serves(page: Page, key: str) -> None:
    page.open()
    page.field("Key").send_keys("mp-o-HCv\u2026", Keys.ENTER)
    page.shows("A key is letters, digits and hyphens")
    page.field("Key").clear()
    page.field("Key").send_keys("mp-wrong", Keys.ENTER)
    page.shows("The server has no such key")
    assert page.script("return sessionStorage.length") == 0
    page.field("Key").send_keys(key, Keys.ENTER)
    page.shows("Nothing is remembered yet")
    assert page.script("return sessionStorage.length") == 1


def test_an_answer_that_comes_when_another_one_is_there_is_told_to_nobody(
    served: Served, inside: Page, key: str, other: str
) -> None:
    written(served, key, house=CODE)
    written(served, other)
    inside.memory("household")
    inside.script(HOLD, "/ask")
    inside.field("Question").send_keys(ASKED, Keys.ENTER)
    inside.until(lambda: inside.script(HELD))
    another(inside, other)
    inside.script("window.tell()")
    go(inside, "write")
    go(inside, "ask")
    assert "4471" not in inside.text + inside.said


def test_what_is_being_typed_outlives_a_restart_of_the_server(
    served: Served, inside: Page, key: str
) -> None:
    written(served, key)
    for typed in (CODE, ""):
        inside.memory("household", "write")
        text = inside.field("Text")
        text.send_keys(typed)
        inside.script(AWAY)
        inside.until(lambda: inside.script(STATE) == "Not reachable")
        inside.script(BACK)
        inside.until(lambda: inside.script(STATE) == "Ready")
        assert inside.field("Text").get_attribute("value") == typed
        if typed:
            assert text.is_displayed(), "the same field, not one filled again"


def test_what_is_typed_while_the_server_works_stays(served: Served, inside: Page, key: str) -> None:
    written(served, key, house=CODE)
    inside.memory("household")
    inside.script(HOLD, "/ask")
    inside.field("Question").send_keys(ASKED, Keys.ENTER)
    inside.until(lambda: inside.script(HELD))
    box = inside.field("Question")
    box.clear()
    box.send_keys("And what")
    inside.script("window.tell()")
    inside.shows("4471")
    box.send_keys(" else?")
    assert box.get_attribute("value") == "And what else?"
    go(inside, "write")
    inside.script(HOLD, "/writes")
    inside.field("Text").send_keys(BOILER)
    inside.click("Write the text")
    inside.until(lambda: inside.script(HELD))
    inside.field("Text").send_keys(" " + CAT)
    inside.script("window.tell()")
    inside.shows("All of it is written")
    assert inside.field("Text").get_attribute("value") == f"{BOILER} {CAT}"


def test_a_preview_of_another_choice_is_not_shown(served: Served, inside: Page, key: str) -> None:
    written(served, key, house=CODE, cat=CAT)
    inside.memory("household", "forget")
    inside.script(HOLD, "/forget")
    words = inside.field("Words in the text")
    words.send_keys("4471")
    inside.click("Show what would go")
    inside.until(lambda: inside.script(HELD))
    words.clear()
    words.send_keys("Pepper")
    inside.script("window.tell()")
    inside.until(lambda: not inside.all("form[aria-busy]"))
    assert "Would go" not in inside.text


def test_an_empty_file_and_one_that_no_server_would_take_are_refused(
    served: Served, inside: Page, key: str, tmp_path: Path
) -> None:
    written(served, key)
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    inside.memory("household", "write")
    inside.field("Text files").send_keys(str(tmp_path / "empty.txt"))
    inside.click("Write the files")
    inside.shows("empty.txt is empty.")
    assert "All of it is written" not in inside.text
    inside.memory("household", "write")
    inside.field("Text files").send_keys(str(tmp_path / "picture.txt"))
    inside.click("Write the files")
    inside.shows("0 of 1 part are written", "PNG")
    assert "Go on" not in inside.text
    (tmp_path / "notes.txt").write_text(CAT)
    inside.memory("household", "write")
    both = [str(tmp_path / name) for name in ("picture.txt", "notes.txt")]
    inside.field("Text files").send_keys("\n".join(both))
    inside.click("Write the files")
    inside.click("Go on without it")
    inside.shows("All but picture.txt is written, and lasts.", "notes.txt: ")


def test_an_address_that_is_none_is_not_found(inside: Page) -> None:
    inside.open("memories/%")
    inside.shows("There is nothing at this address.")
