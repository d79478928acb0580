from memplus.systems.scm.prompts import (
    before_input,
    document_piece,
    question_one,
    question_two,
    summary_of,
)


def test_history_comes_before_the_previous_turn_and_a_line_ends_both() -> None:
    found = before_input(["[Turn 1]\nred", "[Turn 4]\nblue"], "[Turn 9]\ngreen")
    places = [found.index(one) for one in ("Related", "red", "blue", "Previous", "green", "###")]
    assert places == sorted(places)
    assert found.endswith("###")
    assert "red\n\n[Turn 4]" in found


def test_headings_without_anything_under_them_are_left_out() -> None:
    assert before_input([], "") == ""
    asked, not_asked = before_input([], "green"), before_input([], "green", asked=False)
    assert asked.endswith(not_asked)
    assert "assistant" in asked
    assert "assistant" not in not_asked
    assert "Related" not in before_input([], "green")
    assert "Previous" not in before_input(["red"], "")


def test_yes_is_a_in_one_wording_and_b_in_the_other_and_nothing_else_differs() -> None:
    for first, second in (question_two("The gate is red.", "Which gate?"), question_one("Why?")):
        assert first != second
        assert "A: Yes\nB: No" in first
        assert second == first.replace("A: Yes\nB: No", "A: No\nB: Yes")


def test_question_two_has_content_and_question_in_fences_of_their_own() -> None:
    asked, _ = question_two(" {braces} stay ", "Which gate?\n")
    assert "```\n{braces} stay\n```" in asked
    assert "```\nWhich gate?\n```" in asked


def test_a_summary_of_a_dialogue_asks_for_both_sides() -> None:
    assert "the other answered" in summary_of("text", 2)
    assert "answered" not in summary_of("text", 1)


def test_a_piece_is_told_what_came_before_and_not_to_repeat_it() -> None:
    first, later = document_piece("abc", "", 500), document_piece("def", "abc", 500)
    assert "background" not in first
    assert later.index("abc") < later.index("def")
    assert "Do not repeat" in later
