from hypothesis import given
from hypothesis import strategies as st

from memplus.systems.scm.grouping import grouped, longest_summary


@given(st.lists(st.integers(1, 30)), st.integers(1, 20))
def test_groups_hold_all_parts_in_order_and_only_single_ones_are_too_long(
    lengths: list[int], limit: int
) -> None:
    groups = grouped(lengths, limit)
    assert [place for group in groups for place in group] == list(range(len(lengths)))
    sizes = [sum(lengths[place] for place in group) for group in groups]
    assert all(size <= limit or len(group) == 1 for size, group in zip(sizes, groups, strict=True))
    for (size, group), (_, after) in zip(
        zip(sizes, groups, strict=True), list(zip(sizes, groups, strict=True))[1:], strict=False
    ):
        # Whoever begins a group did not fit into the one before, or one of the two is too long.
        assert size + lengths[after[0]] > limit
        assert group


def test_a_summary_is_as_long_as_its_group_leaves_room_for() -> None:
    assert longest_summary(100, 2300, alone=False) == 1000
    assert longest_summary(100, 2300, alone=True) == 1300
    assert longest_summary(2900, 2300, alone=False) == 700
    assert longest_summary(5000, 2300, alone=True) == 1
