"""The document of the routes holds, whatever is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.serving import serving

from memplus.mplus.model import MPlus


@pytest.mark.long
def test_no_request_that_fits_or_breaks_the_document_fails_the_server(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano, keys=True, requests_per_minute=0) as served:
        key = served.key("fuzz", scopes=("admin",))
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json"),
            *("-H", f"Authorization: Bearer {key}"),
            *("--include-path-regex", "/v1/|/tokenize|/health|/ready"),
            *("--checks", "not_a_server_error,response_schema_conformance"),
            *("--phases", "coverage,fuzzing", "-n", "5", "--seed", "1"),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=500, check=False
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
