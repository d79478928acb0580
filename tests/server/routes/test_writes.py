from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest
from tests.server.serving import serving
from tests.server.speaking import FACT, failure, texts

from memplus.mplus.model import MPlus


@pytest.mark.parametrize(
    "raw",
    [
        FACT.encode(),
        b"\xef\xbb\xbf" + FACT.encode(),
        FACT.encode("utf-16"),
        gzip.compress(FACT.encode()),
    ],
    ids=["utf-8", "with a mark", "utf-16", "gzipped"],
)
def test_a_file_is_written_under_its_name(client: httpx.Client, raw: bytes) -> None:
    answer = client.post("/v1/memories/ann/files", files={"file": ("/tmp/a b.txt", raw)})
    assert answer.status_code == 201, answer.text
    assert answer.json()["source"] == "a b.txt"
    assert texts(client) == [FACT]
    more = client.post(
        "/v1/memories/bob/files", files={"file": ("a.txt", raw)},
        data={"source": "notes", "flush": "true"},
    ).json()  # fmt: skip
    assert (more["source"], more["waiting"]) == ("notes", 0)


@pytest.mark.parametrize(
    "raw",
    [b"", b" \n", b"%PDF-1.7 x", b"a\0b", b"\xff\xfe\xff", gzip.compress(b"text")[:-9]],
    ids=["empty", "blank", "pdf", "nul", "broken", "cut off"],
)
def test_a_file_that_is_no_text_is_refused_and_makes_no_memory(
    client: httpx.Client, raw: bytes
) -> None:
    answer = client.post("/v1/memories/ann/files", files={"file": ("a.txt", raw)})
    failure(answer, 400)
    assert "/tmp" not in answer.text
    assert client.get("/v1/memories").json()["data"] == []


@pytest.mark.parametrize("place", ["name", "field"])
def test_the_name_of_a_files_source_is_bounded_as_any_source(
    client: httpx.Client, place: str
) -> None:
    for length, status in ((500, 201), (501, 400)):
        name, data = ("n" * length, {}) if place == "name" else ("a", {"source": "n" * length})
        answer = client.post(
            "/v1/memories/ann/files", files={"file": (name, FACT.encode())}, data=data
        )
        assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == "source"
    assert texts(client) == [FACT]


def test_a_file_that_a_client_sends_again_by_itself_is_written_once(client: httpx.Client) -> None:
    for count in ("0", "1", "2"):
        answer = client.post(
            "/v1/memories/ann/files", files={"file": ("a.txt", FACT.encode())},
            headers={"x-stainless-retry-count": count},
        ).json()  # fmt: skip
        assert answer["repeated"] == (count != "0")
    assert texts(client) == [FACT]


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, body_bytes=100_000) as served, served.client() as client:
        packed = gzip.compress(b"word " * 10_000_000)
        assert len(packed) < 90_000
        answer = client.post("/v1/memories/ann/files", files={"file": ("a.gz", packed)})
        assert failure(answer, 413) == "request_too_large"
