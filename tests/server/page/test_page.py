"""The page in a real browser: what people do with it, end to end."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from tests.server.page.browser import Page
from tests.server.serving import Served, serving

from memplus.errors import MemplusError
from memplus.mplus.model import MPlus

BOILER = "The boiler was serviced on Tuesday by Joao Ferreira. "
CODE = "Marta Velez's locker code is 4471."
ASKED = "What is Marta Velez's locker code?"
CAT = "The cat is called Pepper. "


def written(served: Served, key: str, name: str = "household", **texts: str) -> None:
    """Memories as other clients write them."""
    with served.client(key) as client:
        for source, text in (texts or {"house": BOILER, "pets": CAT}).items():
            body = {"text": text, "source": source, "flush": True}
            answer = client.post(f"/v1/memories/{name}/writes", json=body)
            assert answer.status_code == 201, answer.text


def test_a_key_signs_in_and_stays_out_of_the_address(page: Page, key: str) -> None:
    page.open()
    assert page.heading == "Sign in"
    page.field("Key").send_keys("mp-wrong", Keys.ENTER)
    page.shows("The server has no such key", "Request page-")
    assert page.active.accessible_name == "Key"
    page.field("Key").send_keys(key, Keys.ENTER)
    page.shows("Nothing is remembered yet")
    assert key not in page.driver.current_url
    page.open()
    assert page.heading == "Memories", "a reload keeps the key"
    page.click("Sign out")
    page.until(lambda: page.heading == "Sign in")
    assert page.script("return sessionStorage.length") == 0


def test_a_text_is_written_into_a_new_memory_and_answers_with_evidence(inside: Page) -> None:
    inside.click("New memory")
    inside.field("Name").send_keys("household", Keys.ENTER)
    inside.until(lambda: inside.heading == "household")
    inside.field("Text").send_keys(CODE)
    inside.field("Source").send_keys("house book")
    inside.click("Write the text")
    inside.shows("All of it is written, and lasts.", "house book: ")
    assert inside.field("Text").get_attribute("value") == ""
    inside.click("Ask about it")
    inside.field("Question").send_keys(ASKED, Keys.ENTER)
    inside.shows("4471", "Confidence 100%", "What it stands on", "% of the attention")
    inside.shows("house book, waits to be written")
    assert CODE in [one.text for one in inside.all("blockquote")]
    inside.until(lambda: inside.said.startswith("Answer: 4471. Confidence 100%"))


def test_it_is_said_that_and_why_a_memory_declines(served: Served, inside: Page, key: str) -> None:
    written(served, key, house=CODE)
    inside.memory("household")
    inside.field("Question").send_keys("Who serviced the boiler?", Keys.ENTER)
    inside.shows("It declines to answer.", "What it looked at")
    assert inside.all("details summary") == [], "nothing was withheld: the model itself declined"
    inside.field("Question").send_keys(ASKED)
    inside.field("Least confidence").send_keys("1", Keys.ENTER)
    inside.shows("What it was not sure enough of")
    inside.all("summary")[0].click()
    inside.shows("4471")
    inside.until(lambda: "declines to answer" in inside.said)


def test_memories_are_listed_with_their_figures(served: Served, inside: Page, key: str) -> None:
    written(served, key)
    inside.open()
    row = [one.text for one in inside.all("tbody tr > *")]
    with served.client(key) as client:
        held = client.get("/v1/memories/household").json()
    assert row[:2] == ["household", str(held["tokens"])]
    assert re.fullmatch(r"[\d.]+ MB", row[2])
    assert row[3:] == ["just now", "just now"] or "second" in row[3]


def test_contents_show_what_is_held_by_source(served: Served, inside: Page, key: str) -> None:
    written(served, key)
    inside.memory("household", "contents")
    assert [one.text for one in inside.all("tbody th")] == ["house", "pets"]
    quotes = [one.text for one in inside.all("blockquote")]
    assert quotes == [BOILER.strip(), CAT.strip()]
    inside.field("What is it about?").send_keys("boiler", Keys.ENTER)
    inside.until(lambda: "found." in inside.said)
    inside.click("Forget everything from pets")
    inside.until(lambda: inside.script("return location.hash") == "#/memories/household/forget")
    assert Select(inside.field("Source")).first_selected_option.text == "pets"


@pytest.mark.long
def test_forgetting_shows_what_would_go_and_what_remains_before_it_is_done(
    served: Served, inside: Page, key: str
) -> None:
    written(served, key)
    with served.client(key) as client:
        client.post("/v1/memories/household/fork", json={"name": "spare"})
        inside.memory("household", "forget")
        inside.field("Words in the text").send_keys("boiler", Keys.ENTER)
        inside.shows(
            "Would go: 1 write", BOILER.strip(), "In forks and copies, which keep it: spare."
        )
        assert inside.active.text == "Would go: 1 write"
        sources = client.get("/v1/memories/household").json()["sources"]
        assert [one["source"] for one in sources] == ["house", "pets"], "nothing has gone yet"
        inside.click("Keep it")
        assert "Would go" not in inside.text
        inside.click("Show what would go")
        inside.click("Forget 1 write")
        inside.shows("Forgotten: 1 write", "Here remain")
        sources = client.get("/v1/memories/household").json()["sources"]
        assert [one["source"] for one in sources] == ["pets"]
        inside.field("Words in the text").send_keys("boiler", Keys.ENTER)
        inside.shows("Request page-")


@pytest.mark.long
def test_a_fork_begins_alike_and_history_goes_back(served: Served, inside: Page, key: str) -> None:
    written(served, key)
    inside.memory("household", "manage")
    inside.field("Name of the fork").send_keys("summer", Keys.ENTER)
    inside.until(lambda: inside.heading == "summer")
    inside.memory("household", "history")
    states = [one.text for one in inside.all("tbody th")]
    assert states == ["After write 2", "After write 1", "The beginning"]
    inside.click("Go back to after write 1")
    inside.shows("Now")
    inside.until(lambda: inside.all("dialog[open]"))
    inside.click("Go back")
    inside.until(lambda: [one.text for one in inside.all("tbody th")] == states[1:])
    with served.client(key) as client:
        counts = [
            client.get(f"/v1/memories/{one}").json()["writes"] for one in ("household", "summer")
        ]
    assert counts == [1, 2]


def test_history_goes_back_to_what_only_waited(served: Served, inside: Page, key: str) -> None:
    with served.client(key) as client:
        for text in (BOILER, CAT):
            client.post("/v1/memories/household/writes", json={"text": text})
    inside.memory("household", "history")
    states = [one.text for one in inside.all("tbody th")]
    assert len(states) == 3
    assert states[1].startswith("The beginning, ")
    assert states[2] == "The beginning"
    inside.click("Go back to " + states[1].replace("The", "the", 1))
    inside.until(lambda: inside.all("dialog[open]"))
    inside.click("Go back")
    inside.until(lambda: [one.text for one in inside.all("tbody th")] == states[1:])


def test_deleting_asks_for_the_name(served: Served, inside: Page, key: str) -> None:
    written(served, key)
    inside.memory("household", "manage")
    inside.click("Delete this memory")
    inside.field("Type its name").send_keys("hous", Keys.ENTER)
    inside.until(lambda: "nothing was deleted" in inside.all("dialog")[0].text)
    inside.field("Type its name").send_keys("ehold", Keys.ENTER)
    inside.shows("Nothing is remembered yet")


@pytest.mark.long
def test_an_exported_memory_can_be_imported(
    served: Served, inside: Page, key: str, tmp_path: Path
) -> None:
    written(served, key)
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    inside.driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    inside.memory("household", "manage")
    inside.click("Export")
    inside.until(lambda: (tmp_path / "household.memory").exists())
    inside.open()
    inside.click("Import")
    inside.field("File").send_keys(str(tmp_path / "household.memory"))
    inside.field("Name").send_keys("again", Keys.ENTER)
    inside.until(lambda: inside.heading == "again")
    with served.client(key) as client:
        assert [one["source"] for one in client.get("/v1/memories/again").json()["sources"]] == [
            "house", "pets",
        ]  # fmt: skip


def test_a_long_file_is_written_in_parts_and_goes_on_where_it_failed(
    served: Served, inside: Page, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(served, key)
    lines = [f"Line {number}: {'ä' * 400}\n" for number in range(25)]
    (tmp_path / "long.txt").write_text("".join(lines))
    texts: list[str] = []
    engine = served.services.engine

    async def noting(memory: object, text: str, **how: object) -> object:
        if len(texts) == 1 and not failed:
            failed.append(text)
            raise MemplusError("it fails once")
        texts.append(text)
        return await write(memory, text[:40], **how)

    failed: list[str] = []
    write = engine.write
    monkeypatch.setattr(engine, "write", noting)
    inside.memory("household", "write")
    inside.field("Text files").send_keys(str(tmp_path / "long.txt"))
    inside.click("Write the files")
    inside.shows("1 of 2 parts are written, and last; the rest is not.", "Request page-")
    assert inside.script("return document.querySelector('progress').value") == 1
    inside.click("Go on")
    inside.shows("All of it is written, and lasts.", "long.txt: ")
    assert "".join(texts) == "".join(lines), "each line once, whole"
    assert failed == texts[1:]
    assert texts[1].startswith("Line ")


@pytest.mark.long
def test_a_packed_file_is_left_to_the_server(
    served: Served, inside: Page, key: str, tmp_path: Path
) -> None:
    written(served, key)
    (tmp_path / "notes.gz").write_bytes(gzip.compress(CAT.encode()))
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    inside.memory("household", "write")
    inside.field("Text files").send_keys(str(tmp_path / "notes.gz"))
    inside.click("Write the files")
    inside.shows("All of it is written", "notes.gz: ")
    inside.field("Text files").send_keys(str(tmp_path / "picture.txt"))
    inside.click("Write the files")
    inside.shows("0 of 1 part are written", "PNG")


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(served: Served, inside: Page) -> None:
    inside.click("Keys")
    inside.field("Name").send_keys("bot")
    inside.click("Make the key")
    inside.until(lambda: inside.all("dialog[open]"))
    secret = inside.field("Key").get_attribute("value") or ""
    with served.client(secret) as client:
        assert client.get("/v1/memories").status_code == 200
        inside.press(Keys.ESCAPE)
        assert inside.all("dialog[open]"), "Escape does not lose the key"
        inside.click("I have kept it")
        inside.shows("bot", secret[:7])
        assert secret not in inside.script("return document.documentElement.outerHTML")
        inside.click("Revoke bot")
        inside.click("Revoke it")
        inside.shows("Revoked")
        assert client.get("/v1/memories").status_code == 401


def test_a_key_that_may_only_ask_is_offered_nothing_else(
    served: Served, page: Page, key: str
) -> None:
    written(served, key)
    who = served.services.keys.holder(key)
    assert who is not None
    page.sign_in(served.key(tenant=who.tenant, scopes=("read",)))
    assert [one.text for one in page.all("#sections a")] == ["Memories", "Requests", "Server"]
    assert page.all("main button") == []
    page.memory("household")
    tabs = [one.text for one in page.all(".tabs a")]
    assert tabs == ["Ask", "Contents", "History", "Manage"]
    page.memory("household", "contents")
    assert "Forget" not in page.text


def test_a_failed_request_is_shown_with_the_id_that_the_server_knows(
    served: Served, inside: Page, key: str
) -> None:
    written(served, key)
    inside.memory("household")
    with served.client(key) as client:
        client.delete("/v1/memories/household")
        inside.field("Question").send_keys("Who?", Keys.ENTER)
        inside.shows("There is no memory 'household'", "Request page-")
        shown = inside.all(".problem code")[0].text
        known = {one["id"]: one for one in client.get("/v1/requests").json()["data"]}
    assert known[shown]["code"] == "memory_not_found"
    inside.click("Requests")
    inside.field("Find by id, route, status or error").send_keys(shown)
    inside.until(lambda: len(inside.all("tbody tr")) == 1)
    inside.shows("404 memory_not_found")


def test_a_server_without_keys_needs_no_sign_in_until_the_first_one(
    browser: object, tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano) as alone:
        page = Page(browser, alone.url)
        page.reset()
        page.open()
        assert page.heading == "Memories"
        assert "Sign out" not in [one.text for one in page.all("button")]
        page.open("keys")
        page.shows("This server has no keys")
        page.field("Name").send_keys("me", Keys.ENTER)
        page.click("I have kept it")
        page.shows("This one")
        page.open()
        assert page.heading == "Memories"
        page.open("server")
        page.shows("It answers, the model is loaded", "nano", f"{alone.url}/v1")
    page.click("Look again")
    page.shows("The server cannot be reached.", "Request page-")
    page.until(
        lambda: page.script("return document.getElementById('state').innerText") == "Not reachable"
    )
