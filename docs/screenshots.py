"""The pictures of the page in docs/server.md: ``python docs/screenshots.py [--model smollm2]``.

Needs Chromium with its driver, and the model: ``memplus pull smollm2``.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.keys import Keys

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from tests.server.page.browser import Page, chromium  # noqa: E402
from tests.server.serving import Served, serving  # noqa: E402

from memplus import MPlus  # noqa: E402

COLORS = 96
"""Of a picture: text and flat ground need few."""
QUESTION = "Who serviced the boiler?"
TELEGRAMS = {"anna": "Anna's train arrives on Friday at ten past six.", "garden": "Beans came up."}


def main() -> None:
    """Serve a memory, look at it, keep what is seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    model = MPlus.from_pretrained(given.model, dtype="float32").eval()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), model, keys=True) as served,
        chromium() as driver,
    ):
        key = served.key(scopes=("admin",))
        tell(served, key)
        page = Page(driver, served.url)
        page.reset()
        page.sign_in(key)
        asked = ask(page, 1200)
        save([asked], given.out / "page.png")
        save([ask(page, 390), memories(page), forget(page)], given.out / "page-390.png")


def tell(served: Served, key: str) -> None:
    """A household's book, in a memory that has a fork, and two smaller ones beside it."""
    with served.client(key) as client:
        texts = {"household": (DOCS / "household.txt").read_text(), **TELEGRAMS}
        for name, text in texts.items():
            body = {"text": text, "source": "house book" if name == "household" else "telegram"}
            client.post(f"/v1/memories/{name}/writes", json=body).raise_for_status()
        fork = {"name": "household, in May"}
        client.post("/v1/memories/household/fork", json=fork).raise_for_status()


def ask(page: Page, width: int) -> Image.Image:
    """A question and what its answer stands on."""
    page.size(width)
    page.memory("household")
    page.field("Question").send_keys(QUESTION, Keys.ENTER)
    page.until(lambda: page.all("article"))
    page.script("document.activeElement.blur(); scrollTo(0, 0)")
    return seen(page, width, most=1120 if width > 600 else 844)


def memories(page: Page) -> Image.Image:
    """The list."""
    page.size(390, dark=True)
    page.open()
    return seen(page, 390, most=844, dark=True)


def forget(page: Page) -> Image.Image:
    """What would go."""
    page.size(390)
    page.memory("household", "forget")
    page.field("Words in the text").send_keys("boiler", Keys.ENTER)
    page.shows("Would go")
    page.script("document.querySelector('section.card').scrollIntoView({block: 'start'})")
    return seen(page, 390, most=844, whole=False)


def seen(
    page: Page, width: int, *, most: int, dark: bool = False, whole: bool = True
) -> Image.Image:
    """The screen, no higher than it needs to be."""
    height = (
        page.script("return document.querySelector('main').scrollHeight + 64") if whole else most
    )
    page.size(width, min(most, height) if width > 600 else most, dark=dark)
    time.sleep(0.3)
    return Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")


def save(screens: list[Image.Image], path: Path) -> None:
    """Side by side, in few colors."""
    gap = 24
    width = sum(one.width for one in screens) + gap * (len(screens) - 1)
    whole = Image.new("RGB", (width, max(one.height for one in screens)), "white")
    at = 0
    for one in screens:
        whole.paste(one, (at, 0))
        at += one.width + gap
    few = whole.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
