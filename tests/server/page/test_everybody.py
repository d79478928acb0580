"""The page for everybody: by keys alone, by ear, on small screens, by night; and no script."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys
from tests.server.page.browser import Page
from tests.server.serving import Served

TABS = ("ask", "write", "contents", "forget", "history", "manage")


def views(name: str) -> list[str]:
    """Every address of the page."""
    return ["", "requests", "keys", "server", *(f"memories/{name}/{tab}" for tab in TABS)]


@pytest.fixture
def filled(served: Served, key: str) -> str:
    """A memory with something of everything."""
    with served.client(key) as client:
        for source in ("house", "pets"):
            body = {"text": f"In the {source} lives Pepper. ", "source": source, "flush": True}
            client.post("/v1/memories/home/writes", json=body).raise_for_status()
        body = {"text": "The meter was read.", "source": ""}
        client.post("/v1/memories/home/writes", json=body).raise_for_status()
    return "home"


@pytest.mark.long
def test_everything_can_be_done_with_the_keyboard_alone(page: Page, key: str) -> None:
    page.open()
    page.tab_to("Key")
    page.press(key, Keys.ENTER)
    page.shows("Nothing is remembered yet")
    page.tab_to("New memory")
    page.press(Keys.ENTER)
    page.until(lambda: page.active.accessible_name == "Name")
    page.press("diary", Keys.ENTER)
    page.until(lambda: page.heading == "diary")
    page.tab_to("Text")
    page.press("The boiler was serviced by Joao Ferreira.")
    page.tab_to("Write the text")
    page.press(Keys.ENTER)
    page.shows("All of it is written")
    page.until(lambda: page.said.startswith("All of it is written"))
    page.script("document.body.focus(); document.getElementById('skip').focus()")
    page.tab_to("Ask")
    page.press(Keys.ENTER)
    page.until(lambda: page.active.text == "diary", lambda: page.active.text)
    page.tab_to("Question")
    page.press("Who serviced the boiler?", Keys.ENTER)
    page.until(lambda: page.all("article"))
    assert page.active.accessible_name == "Question", "the next question can be typed at once"
    page.memory("diary", "forget")
    page.tab_to("Words in the text")
    page.press("boiler")
    page.tab_to("Show what would go")
    page.press(Keys.ENTER)
    page.until(lambda: page.active.text.startswith("Would go"))
    page.press(Keys.TAB, Keys.ENTER)
    page.until(lambda: page.active.text.startswith("Forgotten"))


def test_the_first_stop_skips_to_the_content(inside: Page) -> None:
    inside.open()
    inside.press(Keys.TAB)
    assert inside.active.accessible_name == "Skip to the content"
    assert inside.active.is_displayed()
    inside.press(Keys.ENTER)
    assert inside.active.tag_name == "main"
    assert inside.heading == "Memories"


@pytest.mark.long
def test_the_tab_key_reaches_every_control(inside: Page, filled: str) -> None:
    for view in views(filled):
        inside.open(view)
        assert inside.unreached() == set(), view


def test_the_focus_is_seen(inside: Page, filled: str) -> None:
    inside.memory(filled)
    for _ in range(12):
        inside.press(Keys.TAB)
        outline = inside.script("return getComputedStyle(document.activeElement).outline")
        assert outline.endswith("solid 3px"), inside.active.accessible_name


@pytest.mark.long
def test_a_new_view_is_read_from_its_heading(inside: Page, filled: str) -> None:
    inside.open()
    for link, focus, title in (
        (filled, filled, "Ask: home"), ("History", "History", "History: home"),
        ("Requests", "Requests", "Requests"), ("Server", "Server", "Server"),
    ):  # fmt: skip
        inside.click(link)
        inside.until(lambda title=title: inside.driver.title == f"{title} · memplus")
        assert inside.active.get_attribute("textContent") == focus


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True])
def test_controls_have_names_headings_an_order_and_texts_contrast(
    inside: Page, filled: str, dark: bool
) -> None:
    inside.size(1200, 900, dark=dark)
    for view in views(filled):
        inside.open(view)
        assert inside.checks() == [], view
    inside.memory(filled)
    inside.field("Question").send_keys("Who?", Keys.ENTER)
    inside.until(lambda: inside.all("article"))
    assert inside.checks() == []
    inside.memory(filled, "forget")
    inside.field("Words in the text").send_keys("Pepper", Keys.ENTER)
    inside.shows("Would go: 2 writes")
    assert inside.checks() == []
    inside.click("Forget 2 writes")
    inside.shows("Forgotten")
    inside.memory(filled, "manage")
    inside.click("Delete this memory")
    assert inside.checks() == []
    inside.open("memories/nowhere")
    assert inside.checks() == []
    inside.click("Sign out")
    inside.until(lambda: inside.heading == "Sign in")
    assert inside.checks() == []


def test_the_checks_find_faults(inside: Page) -> None:
    inside.script(
        "const main = document.querySelector('main');"
        "const add = (tag, text) => { const one = document.createElement(tag);"
        " one.textContent = text; main.append(one); return one; };"
        "add('h4', 'too deep'); add('input', ''); add('p', 'faint').style.color = '#999';"
        "add('p', 'twice').id = 'live';"
    )
    found = " ".join(inside.checks())
    for fault in ("heading 4 after", "no name: <input", "contrast 2.", "id twice: live"):
        assert fault in found


def test_light_and_dark_follow_the_reader(inside: Page) -> None:
    shown = "return getComputedStyle(document.body).backgroundColor"
    light = inside.script(shown)
    inside.size(1200, 900, dark=True)
    dark = inside.script(shown)
    assert light == "rgb(244, 246, 245)"
    assert dark == "rgb(14, 20, 18)"


@pytest.mark.long
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_screen(
    served: Served, inside: Page, key: str, width: int
) -> None:
    name = "long" * 40
    with served.client(key) as client:
        body = {"text": "x" * 600, "source": "s" * 200, "flush": True}
        client.post(f"/v1/memories/{name}/writes", json=body).raise_for_status()
    served.services.keys.add(name[:90] + key[3:9], tenant=served.services.keys.holder(key).tenant)  # type: ignore[union-attr]
    inside.size(width)
    for view in views(name):
        inside.open(view)
        assert inside.script("return document.documentElement.scrollWidth") <= width, view
    inside.memory(name)
    inside.field("Question").send_keys("y" * 200, Keys.ENTER)
    inside.until(lambda: inside.all("article"))
    assert inside.script("return document.documentElement.scrollWidth") <= width


@pytest.mark.long
def test_texts_that_hold_html_and_script_stay_text(served: Served, inside: Page, key: str) -> None:
    evil = "<img src=x onerror=window.hit=1><b>{{7*7}}"
    script = "<script>window.hit=1</script><svg onload=window.hit=1> javascript:hit() "
    with served.client(key) as client:
        client.post("/v1/memories", json={"name": evil}).raise_for_status()
        place = "/v1/memories/%3Cimg%20src%3Dx%20onerror%3Dwindow.hit%3D1%3E%3Cb%3E%7B%7B7*7%7D%7D"
        for flush in (True, False):
            body = {"text": script, "source": script, "flush": flush}
            client.post(f"{place}/writes", json=body).raise_for_status()
        client.post("/v1/keys", json={"name": evil + key[3:9]}).raise_for_status()
    inside.open()
    assert [one.text for one in inside.all("tbody th")] == [evil]
    inside.click(evil)
    inside.until(lambda: inside.heading == evil)
    inside.field("Question").send_keys(script, Keys.ENTER)
    inside.until(lambda: inside.all("article"))
    inside.shows(script.strip())
    unsafe = (
        "return window.hit ?? document.querySelectorAll('main :is(img, script, svg, b)').length"
    )
    assert inside.script(unsafe) == 0
    for tab in TABS:
        inside.memory(evil, tab)
        assert inside.heading == evil
        assert inside.script(unsafe) == 0, tab
    inside.open("keys")
    inside.shows(evil)
    assert inside.script(unsafe) == 0
    inside.memory(evil + " nowhere")
    inside.shows("<img src=x")
    assert inside.script(unsafe) == 0
