from typing import Any

import pytest

from memplus.errors import BrokenTextError, UsageError
from memplus.memory.written_text import require_text


def test_half_a_character_is_named_with_its_place() -> None:
    with pytest.raises(BrokenTextError, match=r"The name .* U.DCE9 at character 3"):
        require_text("caf\udce9", "The name")
    require_text("caf\u00e9", "The name")


@pytest.mark.parametrize("text", [b"abc", 3, None])
def test_what_is_no_string_is_named_by_its_kind(text: Any) -> None:
    with pytest.raises(UsageError, match=f"The name must be a string, not {type(text).__name__}"):
        require_text(text, "The name")
