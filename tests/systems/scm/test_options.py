import pytest

from memplus.errors import ConfigError
from memplus.fields import with_options
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.selection import Limits


def test_the_limits_are_those_of_the_options() -> None:
    assert SCMOptions().limits == Limits(total=1500, flash=300, item=480, rule="code")
    given = {"limit": "2500", "flash_limit": "500", "item_limit": "800", "rule": "paper"}
    limits = with_options(SCMOptions, "scm", given).limits
    assert limits == Limits(total=2500, flash=500, item=800, rule="paper")


@pytest.mark.parametrize(
    ("option", "value"),
    [("k", "0"), ("limit", "1"), ("chunk", "0"), ("recency", "-1"), ("recency", "nan"),
     ("gate", "maybe"), ("rule", "own"), ("embed", "both"), ("flash_limit", "-1")],
)  # fmt: skip
def test_what_cannot_be_chosen_is_named(option: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_options(SCMOptions, "scm", {option: value})
    assert caught.value.fields["field"] == f"scm:{option}"
