from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
from tests.server.serving import serving

from memplus.mplus.model import MPlus
from memplus.server.routes.page import HEADERS

FILES = [one for one in (resources.files("memplus.server") / "page").iterdir() if one.is_file()]
MOST = 64 * 1024


def test_the_page_and_its_files_come_without_a_key_and_are_kept_nowhere(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano, keys=True) as served, served.client() as client:
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for name in re.findall(r'(?:href|src)="(page/[^"]+)"', page.text):
            answer = client.get(f"/{name}")
            assert answer.status_code == 200
            assert {one: answer.headers[one] for one in HEADERS} == HEADERS
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        policy = page.headers["content-security-policy"].split("; ")
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Fapp.py", "..%2F..%2Fkeys.py", "%2Fetc%2Fpasswd"]
)
def test_no_other_file_is_sent(tmp_path: Path, nano: MPlus, name: str) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "unknown_path"


def test_the_page_is_small() -> None:
    assert 0 < sum(len(one.read_bytes()) for one in FILES) < MOST


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.name)
def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(file: Path) -> None:
    text = file.read_text()
    elsewhere = re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert elsewhere == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", text) == []
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text) == []
