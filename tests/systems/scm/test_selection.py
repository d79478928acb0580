"""Properties of the choice, whatever the turns are and the controller answers."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from memplus.systems.scm.ranking import nearest
from memplus.systems.scm.selection import (
    Form,
    Limits,
    Selection,
    flash_of,
    select,
    select_naively,
)


@dataclass
class History:
    whole: list[int]
    short: list[int]
    said: list[tuple[bool, bool]]
    scores: list[float]
    k: int
    calls: list[tuple[int, Form]] = field(default_factory=list)
    made: set[int] = field(default_factory=set)

    def tokens(self, turn: int) -> int:
        return self.whole[turn]

    def summary_tokens(self, turn: int) -> int:
        self.made.add(turn)
        return self.short[turn]

    def answers(self, turn: int, form: Form) -> bool:
        self.calls.append((turn, form))
        return self.said[turn][form == "summary"]

    @property
    def ranked(self) -> list[int]:
        return nearest(self.scores[:-1], self.k)


@st.composite
def histories(draw: st.DrawFn) -> History:
    count = draw(st.integers(1, 9))
    whole = draw(st.lists(st.integers(1, 200), min_size=count, max_size=count))
    short = draw(st.lists(st.integers(1, 150), min_size=count, max_size=count))
    said = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=count, max_size=count))
    scores = draw(st.lists(st.floats(-1, 1), min_size=count, max_size=count))
    return History(whole, short, said, scores, draw(st.integers(1, 6)))


rules = st.sampled_from(["code", "paper"])
LIMITS = st.builds(Limits, st.integers(2, 500), st.integers(0, 100), st.integers(0, 200), rules)


def chosen(history: History, limits: Limits) -> Selection:
    flash = flash_of(len(history.whole) - 1, history, limits)
    return select(history.ranked, flash, history, limits)


@given(histories(), LIMITS)
def test_what_is_chosen_fits_stands_in_order_and_is_earlier_than_the_last_turn(
    history: History, limits: Limits
) -> None:
    found = chosen(history, limits)
    turns = [one.turn for one in found.activation]
    assert turns == sorted(set(turns))
    assert len(history.whole) - 1 not in turns
    flash = found.flash.tokens if found.flash else 0
    assert found.tokens - (flash if limits.rule == "paper" else 0) <= limits.total
    for one in (*found.activation, *([found.flash] if found.flash else [])):
        length = (history.whole if one.form == "raw" else history.short)[one.turn]
        assert one.tokens < length if one.cut else one.tokens == length


@given(histories(), LIMITS, st.integers(2, 600), st.booleans())
def test_all_of_it_has_positions_and_with_enough_of_them_nothing_changes(
    history: History, limits: Limits, room: int, naive: bool
) -> None:
    def chosen_of(one: History, limits: Limits) -> Selection:
        flash = flash_of(len(one.whole) - 1, one, limits)
        return (select_naively if naive else select)(one.ranked, flash, one, limits)

    free = replace(history, calls=[], made=set())
    found, wished = chosen_of(history, replace(limits, room=room)), chosen_of(free, limits)
    assert found.tokens <= room
    assert bool(found.activation) == bool(wished.activation)
    if room >= 2 * limits.total:
        assert found == wished
    # So what would be chosen with more room is known without asking the model anything more.
    assert set(free.calls) <= set(history.calls)
    assert free.made <= history.made


@given(histories(), LIMITS)
def test_the_nearest_turn_is_never_dropped_and_never_asked_about(
    history: History, limits: Limits
) -> None:
    found = chosen(history, limits)
    if history.ranked:
        assert history.ranked[-1] in [one.turn for one in found.activation]
    if limits.rule == "code":
        assert all(turn != history.ranked[-1] for turn, _ in history.calls)
    # Question 2 is asked of each form once, so the controller is called 2 (k - 1) times at most.
    assert len(history.calls) == len(set(history.calls)) <= 2 * (max(history.k, 1) - 1) + 1
    if limits.rule == "code":
        assert len(history.calls) <= 2 * (history.k - 1)


@given(histories(), LIMITS)
def test_where_everything_fits_nothing_is_asked_or_shortened(
    history: History, limits: Limits
) -> None:
    found = chosen(history, limits)
    whole = sum(history.whole[turn] for turn in history.ranked)
    flash = found.flash.tokens if found.flash and limits.rule == "code" else 0
    if whole + flash <= limits.total:
        assert not history.calls
        assert [one.form for one in found.activation] == ["raw"] * len(history.ranked)
        assert history.made <= {len(history.whole) - 1}


@given(histories(), LIMITS)
def test_a_history_of_one_turn_calls_nothing_up(history: History, limits: Limits) -> None:
    one = History(history.whole[:1], history.short[:1], history.said[:1], history.scores[:1], 3)
    assert chosen(one, limits).activation == ()


@given(histories(), LIMITS)
def test_what_the_controller_refuses_is_dropped_and_what_a_summary_answers_is_shortened(
    history: History, limits: Limits
) -> None:
    found = chosen(history, limits)
    forms = {one.turn: one.form for one in found.activation}
    for turn, form in history.calls:
        answer = history.said[turn][form == "summary"]
        if form == "raw" and not answer:
            assert turn not in forms
        if form == "summary" and answer:
            assert forms.get(turn, "summary") == "summary"


def test_by_the_paper_only_long_turns_are_asked_about_and_none_is_dropped_for_an_answer() -> None:
    history = History([90, 30, 90, 10], [20, 5, 20, 5], [(False, False)] * 4, [1, 2, 3, 0], 3)
    history.said[2] = (False, True)
    limits = Limits(total=150, flash=50, item=40, rule="paper")
    found = chosen(history, limits)
    assert history.calls == [(0, "summary"), (2, "summary")]
    assert [(one.turn, one.form) for one in found.activation] == [
        (0, "raw"), (1, "raw"), (2, "summary"),
    ]  # fmt: skip


def test_summaries_that_do_not_fit_are_dropped_and_the_nearest_is_cut() -> None:
    history = History([300] * 5, [90, 90, 90, 120, 20], [(True, True)] * 5, [1, 2, 3, 4, 0], 4)
    found = chosen(history, Limits(total=100, flash=10))
    assert [(one.turn, one.tokens, one.cut) for one in found.activation] == [(3, 80, True)]
    assert found.tokens == 100


def test_without_a_controller_whole_turns_are_taken_until_one_does_not_fit() -> None:
    history = History([10, 200, 40, 50, 30], [5] * 5, [(True, True)] * 5, [0, 2, 1, 3, 0], 4)
    limits = Limits(total=200, flash=40)
    found = select_naively(history.ranked, None, history, limits)
    # 1 does not fit beside 3: 2 and 0 would, but nothing comes after it.
    assert [(one.turn, one.cut) for one in found.activation] == [(3, False)]
    history.scores[1] = 9
    found = select_naively(history.ranked, None, history, limits)
    assert [(one.turn, one.tokens, one.cut) for one in found.activation] == [(1, 200, False)]
    history.whole[1] = 201
    found = select_naively(history.ranked, None, history, limits)
    assert [(one.turn, one.tokens, one.cut) for one in found.activation] == [(1, 160, True)]
    assert not history.calls
