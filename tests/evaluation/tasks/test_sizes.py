import pytest

from memplus.errors import ConfigError
from memplus.evaluation.tasks.sizes import require_each, require_least, require_most


def test_a_number_at_a_bound_is_taken_and_one_beyond_it_refused() -> None:
    require_least("items", 1)
    require_most("items", 2000, 2000)
    with pytest.raises(ConfigError, match="items cannot be 0: it must be at least 1"):
        require_least("items", 0)
    with pytest.raises(ConfigError, match="there are names for 2000"):
        require_most("items", 2001, 2000)


def test_several_values_are_there_and_each_once() -> None:
    require_each("ends", ["first", "last"])
    require_each("lengths", [0, 1000], 0)
    with pytest.raises(ConfigError, match="at least one is needed"):
        require_each("ends", [])
    with pytest.raises(ConfigError, match="ends cannot be 'first': it is named twice"):
        require_each("ends", ["first", "last", "first"])
    with pytest.raises(ConfigError, match="at least 0"):
        require_each("lengths", [1000, -1], 0)
