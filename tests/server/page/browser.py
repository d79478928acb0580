"""A real browser, and the page in it as people use it: by names, by keys."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

PATIENCE = 30.0
_PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_DRIVER = shutil.which("chromedriver")
CHROMIUM = (_PROGRAM, _DRIVER) if _PROGRAM and _DRIVER else None
_CHECKS = Path(__file__).with_name("checks.js").read_text()
_FOCUSABLE = "a[href], button, input, textarea, select, summary"
_QUIET = re.compile(r"the server responded with a status of [45]|ERR_CONNECTION_REFUSED")
"""What a browser notes of refused requests; anything else in its console is a fault."""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium without a window that finds no host but this machine."""
    assert CHROMIUM is not None
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM[0]
    flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    for flag in flags:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMIUM[1]))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page in a browser."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    # Where it is, and how it looks --------------------------------------------------------------

    def reset(self) -> None:
        """A new tab's state: nobody signed in, a wide and light screen, an empty console."""
        self.size(1200, 900)
        self.driver.get(f"{self.url}/page/icon.svg")
        self.driver.execute_script("sessionStorage.clear()")
        self.driver.get_log("browser")

    def size(self, width: int, height: int = 800, *, dark: bool = False) -> None:
        """Of the screen, and the theme that its owner prefers."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})

    def open(self, where: str = "") -> None:
        """Load the page at an address behind the ``#/``, and wait until it stands."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/#/{where}")
        self.settled()

    def settled(self) -> None:
        """Wait for the view of the address."""
        self.until(lambda: self.heading)

    def memory(self, name: str, tab: str = "ask") -> None:
        """Load a memory's tab."""
        self.open(f"memories/{quote(name, safe='')}/{tab}")

    def sign_in(self, key: str) -> None:
        """By the form."""
        self.open()
        self.field("Key").send_keys(key, Keys.ENTER)
        self.until(lambda: self.heading == "Memories")

    # What it shows ------------------------------------------------------------------------------

    def script(self, code: str, *given: object) -> Any:
        """The value of some script; None while the page is being replaced."""
        with contextlib.suppress(JavascriptException):
            return self.driver.execute_script(code, *given)

    @property
    def heading(self) -> str:
        """The first of the view that stands."""
        return self.script("return document.querySelector('main:not([aria-busy]) h1')?.innerText")

    @property
    def text(self) -> str:
        """All that is read in the view."""
        return self.script("return document.querySelector('main').innerText") or ""

    @property
    def said(self) -> str:
        """What was last announced to people who listen."""
        return self.script("return document.getElementById('live').textContent") or ""

    def shows(self, *words: str) -> None:
        """Wait until the view shows all of them."""
        self.until(lambda: all(one in self.text for one in words), lambda: f"{words}: {self.text}")

    def checks(self) -> list[str]:
        """What the accessibility script finds fault with."""
        return self.driver.execute_script(_CHECKS + "\nreturn faults();")

    # Doing something ----------------------------------------------------------------------------

    def all(self, css: str) -> list[WebElement]:
        """Elements that are seen."""
        return [
            one for one in self.driver.find_elements(By.CSS_SELECTOR, css) if one.is_displayed()
        ]

    def field(self, name: str) -> WebElement:
        """A control by the name that people are told."""
        return self._named("input, textarea, select", name)

    def click(self, name: str) -> None:
        """A button or a link."""
        self._named("button, a", name).click()

    def _named(self, css: str, name: str) -> WebElement:
        found: list[WebElement] = []

        def look() -> bool:
            inside = "dialog[open] " if self.all("dialog[open]") else ""
            chosen = ", ".join(inside + one for one in css.split(", "))
            found[:] = [one for one in self.all(chosen) if one.accessible_name == name]
            return bool(found)

        self.until(look, lambda: f"no {name!r}: {[one.accessible_name for one in self.all(css)]}")
        return found[0]

    # The keyboard alone -------------------------------------------------------------------------

    @property
    def active(self) -> WebElement:
        """What has the focus."""
        return self.driver.switch_to.active_element

    def press(self, *keys: str) -> None:
        """Keys, wherever the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, name: str) -> None:
        """Go on with the Tab key until the focus is on what has that name."""
        for _ in range(60):
            self.press(Keys.TAB)
            if self.active.accessible_name == name:
                return
        raise AssertionError(f"the Tab key does not reach {name!r}")

    def unreached(self) -> set[str]:
        """Names of controls that the Tab key does not reach, from the page's beginning."""
        self.script("document.activeElement.blur(); window.getSelection().removeAllRanges()")
        controls = {one.id: one.accessible_name for one in self.all(_FOCUSABLE)}
        for _ in range(2 * len(controls) + 4):
            self.press(Keys.TAB)
            controls.pop(self.active.id, None)
        return set(controls.values())

    # Waiting ------------------------------------------------------------------------------------

    def until(self, happened: Callable[[], object], why: Callable[[], str] = lambda: "") -> None:
        """Wait for something."""
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(StaleElementReferenceException):
                if happened():
                    return
            assert time.monotonic() < end, why() or self.text
            time.sleep(0.02)

    def require_quiet(self) -> None:
        """No script failed, nothing was kept from running, nothing was sought elsewhere."""
        notes = [one["message"] for one in self.driver.get_log("browser")]
        assert [one for one in notes if not _QUIET.search(one)] == []
