import gzip
from pathlib import Path

import pytest
from tests.data.booksort_folder import REAL, TITLES, make_folder, put_heading, words

from memplus.data.booksort import EXCERPT_WORDS, SEGMENT_WORDS, VALIDATION, BookSort, Excerpt
from memplus.errors import BenchmarkFileError, ConfigError, NotFoundError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("booksort"))


def of(folder: Path, length: int, indices: range = range(110)) -> list[Excerpt]:
    return list(BookSort(folder).excerpts(length, 20, indices))


@pytest.mark.parametrize("length", [250, 1000])
def test_an_excerpt_holds_its_segments_where_they_should_stand(folder: Path, length: int) -> None:
    found = of(folder, length)
    assert [(one.book, one.index) for one in found] == [(b, i) for b in TITLES for i in (0, 1, 100)]
    for one in found:
        assert len(one.text.split()) == length
        assert one.text.split() == words(one.book)[7 * (7 + one.index) :][:length]
        assert one.title == TITLES[one.book]
        assert one.exact == (True,) * 4
        assert one.agreed == 8
        for pair in one.pairs:
            assert pair.later_at - pair.earlier_at < pair.bin_end


def test_asterisks_around_texts_are_no_text(folder: Path) -> None:
    for one in of(folder, 250):
        assert "*" not in one.text + "".join(pair.earlier + pair.later for pair in one.pairs)


def test_some_excerpts_are_kept_for_the_choice_of_a_wording(folder: Path) -> None:
    assert {one.index for one in of(folder, 250, VALIDATION)} == {100}
    assert {one.index for one in BookSort(folder).excerpts(250, 20)} == {0, 1}


def test_a_heading_left_in_an_excerpt_is_counted_and_moves_nothing_else(tmp_path: Path) -> None:
    put_heading(make_folder(tmp_path / "a", (1000,)), 101, 47)
    one = of(tmp_path / "a", 1000)[0]
    assert one.exact == (True, False, False, False)
    assert 4 <= one.agreed < 8
    assert one.text.startswith(" ".join(words(101)[49:80]))


def test_what_is_missing_or_changed_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (250,))
    with pytest.raises(NotFoundError, match="segments_1000-s20"):
        of(folder, 1000)
    with pytest.raises(ConfigError, match="Book-SORT has 250, 1000"):
        of(folder, 300)
    with pytest.raises(ConfigError, match="20, 50"):
        list(BookSort(folder).excerpts(250, 30))
    path = folder / "segments_250-s20-n110.csv.gz"
    whole = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(whole.replace("seg2_pos", "pos").encode()))
    with pytest.raises(BenchmarkFileError, match="it has no column seg2_pos"):
        of(folder, 250)
    path.write_bytes(gzip.compress(whole.replace(",7,", ",nine,", 1).encode()))
    with pytest.raises(BenchmarkFileError, match=r"line 2: .*nine"):
        of(folder, 250)
    path.write_bytes(gzip.compress(whole.encode()))
    given = folder / "excerpts_250-s20-n110.csv.gz"
    lines = gzip.decompress(given.read_bytes()).decode().split("*\n")
    given.write_bytes(gzip.compress(("*\n".join(lines[:2]) + '*\n"\r\n').encode()))
    with pytest.raises(BenchmarkFileError, match="lacks excerpt 100 of book 101"):
        of(folder, 250)


SHARES = {
    (250, 20): 99.7,
    (1000, 50): 98.4,
    (2500, 50): 97.5,
    (10_000, 50): 92.1,
    (20_000, 50): 84.9,
}
"""Of rows whose two positions both hold; the rule of the description reaches these."""
AGREED = {(250, 20): 989, (1000, 50): 990, (2500, 50): 989, (10_000, 50): 878, (20_000, 50): 869}
"""Excerpts of which at least half of the segments agree where they begin."""


@pytest.mark.long
@pytest.mark.skipif(not (REAL / "booksort").is_dir(), reason="the published data are not here")
@pytest.mark.parametrize("size", SEGMENT_WORDS)
@pytest.mark.parametrize(
    "length",
    [pytest.param(n, marks=pytest.mark.slow if n > 2500 else ()) for n in EXCERPT_WORDS],
)
def test_the_published_excerpts_are_found_in_the_books(length: int, size: int) -> None:
    found = list(BookSort(REAL / "booksort").excerpts(length, size, range(110)))
    pairs = [exact for one in found for exact in one.exact]
    assert len(found) == (990 if length <= 2500 else 880)
    assert len(pairs) == 4 * len(found)
    assert all(len(one.text.split()) == length for one in found)
    assert 100 * sum(pairs) / len(pairs) >= SHARES.get((length, size), 97)
    assert sum(2 * one.agreed >= 8 for one in found) >= AGREED.get((length, size), len(found) - 2)


@pytest.mark.skipif(not (REAL / "booksort").is_dir(), reason="the published data are not here")
def test_the_published_order_is_not_quite_balanced() -> None:
    """So the share of a constant answer belongs beside every figure (250 words, 20, test)."""
    found = list(BookSort(REAL / "booksort").excerpts(250, 20))
    first = [pair.earlier_shown_first for one in found for pair in one.pairs]
    assert (sum(first), len(first)) == (1784, 3600)
