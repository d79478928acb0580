from __future__ import annotations

import pytest
from pydantic import ValidationError

from memplus.server.wire.administration import KeyShown, NewKey


def test_a_new_key_reads_and_writes_unless_more_is_asked_for() -> None:
    assert NewKey(name="a").scopes == ["read", "write"]
    assert NewKey.model_validate({"name": "a", "scopes": ["admin"], "later": 1}).scopes == ["admin"]


def test_scopes_that_there_are_not_are_refused() -> None:
    with pytest.raises(ValidationError):
        NewKey.model_validate({"name": "a", "scopes": ["root"]})


def test_what_is_shown_of_a_key_has_no_secret_and_no_tenant() -> None:
    assert not {"key", "hash", "tenant"} & KeyShown.model_fields.keys()
