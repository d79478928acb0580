from __future__ import annotations

import pytest

from memplus.sessions.telling import tells


@pytest.mark.parametrize(
    "said",
    [
        "The red bicycle belongs to Tobias.",
        "My name is Nora and I live in Bern.",
        "I had pasta for lunch today.",
        "Paul will pick up the parcel on Friday.",
        "The wifi password was changed this morning.",
        "I am allergic to peanuts.",
        "I'm allergic to peanuts",
        "Our new neighbour plays the cello.",
        "Remember that the car needs new tyres.",
        "Please note that the office is closed on Monday.",
        "I feel a bit tired today.",
        "Marta Velez lives in Porto. She works as a baker.",
        "Ivo\u2019s favourite colour is blue!",
        "Clara Jansen is my aunt.\nShe has two cats.",
        "The old boat in the harbour moved to Pedro.",
        "FYI: the meeting is at nine",
        "Marta Velez's locker code is 4821.",
        "Ana Maria Diaz's home town is Oslo.",
        "My dentist is called Dr. Amsel.",
        "Mrs. Lund lives next door.",
        "My flight is at 6 a.m. on Friday.",
        "I get up at 6 a.m. The alarm is loud.",
        "I work at St. Mary's hospital.",
        "Our flat is no. 14.",
        "My sister's doctor is J. R. Lindqvist.",
        "For two summers I picked peaches outside Lleida.",
        "If anything breaks, the backup tapes are in locker 9.",
        "Since the flood the cellar has smelt of wax.",
        "On Fridays the choir meets in the old fire station.",
        "Mr Baptista at the fish stall told me to score the squid.",
        "The woman in the basement flat mends clocks.",
        "Branch names start with a fruit.",
        "Our electric car gets 310 kilometres in summer.",
        "My uncle left me his boat.",
    ],
)
def test_what_plainly_states_something_tells(said: str) -> None:
    assert tells(said)


@pytest.mark.parametrize(
    "said",
    [
        "Where does Marta live?",
        "where does Marta live",
        "Is the office closed on Monday",
        "Tell me where Marta lives.",
        "Write a poem about the sea.",
        "Brainstorm names for my cat.",
        "Fix Ivo's car that was sold.",
        "Outline Marta Velez's talk about what is new.",
        "Summarise what I said about Paul.",
        "Please give me the code.",
        "I need help with my essay.",
        "I want to know who owns the kettle.",
        "I would like to know when the train leaves.",
        "We forgot where the key is.",
        "I wonder who owns the green kettle.",
        "Marta lives in Porto. Tell me where Ivo lives.",
        "Marta lives in Porto. And Ivo?",
        "The capital of France",  # a beginning that is to be ended goes to the model, too
        "The red gate of the old house",
        "A recipe for soup with red beans",
        "Hello.",
        "Hello there, my friend.",
        "Thanks for the help.",
        "My dentist is Dr. Amsel. Tell me when I have to be there.",
        "I get up at 6 a.m. Remind me of the bread.",
        "I live in sector B. List the bus times.",
        "Dr. Amsel's phone number",
        "In Python, write a function that adds two numbers.",
        "For my essay write an introduction",
        "For dinner I want a recipe with ham",
        "If it rains tomorrow, tell me what to wear",
        "When the train leaves",
        "Since when has Mina lived here",
        "On which shelf are the jars",
        "Now write it in German",
        "The cost of living in Bern",
        "The drinks for the party",
        "The total I paid in March",
        "The address of the man who sold me the bike",
        "From now on speak French",
        "You should answer in rhymes.",
        "Ok",
        "Remember.",
        "...",
        "Mein Fahrrad gehört Tobias.",
        "Le vélo rouge appartient à Tobias.",
        "",
    ],
)
def test_what_may_ask_for_something_goes_to_the_model(said: str) -> None:
    assert not tells(said)
