from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.errors.test_errors import SAMPLES

from memplus.errors import (
    MemoryBusyError,
    MemoryVersionError,
    MemplusError,
    OverloadedError,
    StorageError,
    UnknownMemoryError,
)
from memplus.server.faults import fault_of

PATH = "/srv/secret/place"


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_of_the_library_has_a_status_and_a_code(error: MemplusError) -> None:
    fault = fault_of(error)
    assert 400 <= fault.status < 600
    assert fault.code
    assert fault.type.endswith("_error")
    # What a client would try again by itself must be worth trying.
    assert fault.status not in (409, 429) or fault.final or fault.retry_after
    assert fault.status != 503 or fault.retry_after


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnknownMemoryError("acme/notes", store=PATH), 404, "memory_not_found"),
        (MemoryBusyError("acme/notes"), 409, "memory_busy"),
        (OverloadedError(reason="so many wait", retry_after=7), 503, "overloaded"),
        (StorageError(PATH, reason="full", code=errno.ENOSPC), 507, "storage_error"),
        (StorageError(PATH, reason="broken"), 500, "storage_error"),
        (StorageError(PATH, reason="locked", code=errno.EAGAIN), 503, "overloaded"),
        (MemoryVersionError(PATH, found=9, supported=2), 409, "memory_version"),
        (ValueError(PATH), 500, "internal_error"),
        (OSError(errno.EIO, "bad", str(Path(PATH))), 500, "internal_error"),
    ],
)
def test_what_is_sent_names_no_path_and_no_tenant(error: Exception, status: int, code: str) -> None:
    fault = fault_of(error)
    assert (fault.status, fault.code) == (status, code)
    assert PATH not in fault.message
    assert "acme" not in fault.message


def test_headers_say_when_to_try_again() -> None:
    busy = fault_of(OverloadedError(reason="so many wait", retry_after=7))
    assert busy.headers == {"Retry-After": "7"}
