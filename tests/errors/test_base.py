import errno
import os
import pickle
import resource
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import zeros

from memplus.errors import NotFoundError, StorageError, UsageError
from memplus.errors.base import storage_error


def caught(path: Path, mode: str = "rb") -> OSError:
    try:
        path.open(mode)
    except OSError as error:
        return error
    raise AssertionError(f"{path} was opened")


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    error = storage_error(tmp_path / "notes.txt", caught(tmp_path / "notes.txt"))
    assert isinstance(error, NotFoundError)
    assert error.exit_code == 2
    assert error.message == f"There is no file {tmp_path / 'notes.txt'}."
    assert "space" not in error.hint


@pytest.mark.parametrize("folder", ["absent", "plain"])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "plain").write_text("a file")
    path = tmp_path / folder / "notes.txt"
    error = storage_error(path, caught(path, "wb"))
    assert isinstance(error, NotFoundError)
    assert error.message == f"There is no folder {tmp_path / folder}."


def test_a_folder_in_the_place_of_a_file_is_a_usage_error(tmp_path: Path) -> None:
    error = storage_error(tmp_path, caught(tmp_path))
    assert type(error) is UsageError
    assert error.message == f"{tmp_path} is a folder, but a file is needed."


def test_a_file_lost_inside_a_folder_that_is_there_is_no_mistyped_path(tmp_path: Path) -> None:
    error = storage_error(tmp_path, caught(tmp_path / "part"))
    assert isinstance(error, StorageError)
    assert error.fields["code"] == errno.ENOENT


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permissions"),
        (errno.EMFILE, "open files"),
        (errno.EIO, "Check the file"),
    ],
)
def test_the_hint_follows_the_reason(code: int, word: str) -> None:
    error = storage_error("m.memory", OSError(code, os.strerror(code)))
    assert isinstance(error, StorageError)
    assert error.exit_code == 1
    assert os.strerror(code) in error.message
    assert word in error.hint
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_reason_is_found_in_a_librarys_words(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SafetensorError) as found:
            save_file({"a": zeros(1000)}, tmp_path / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = storage_error(tmp_path / "a.safetensors", found.value)
    assert error.fields["code"] == errno.EFBIG
    assert "Free some space" in error.hint


def test_a_library_that_names_no_reason_keeps_its_words() -> None:
    error = storage_error("a.gz", EOFError("it ends early"))
    assert isinstance(error, StorageError)
    assert "it ends early" in error.message
    assert error.fields["code"] is None
