from memplus.systems.ret_llm.prompts import question_prompt, text_prompt


def test_a_prompt_is_one_line_whatever_stands_in_the_text() -> None:
    assert text_prompt(" It rained\n  all day. ") == "Text: It rained all day.\n"
    assert question_prompt("Who\n is it?") == "Question: Who is it?\n"
