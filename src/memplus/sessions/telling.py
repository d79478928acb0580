"""Whether a turn only tells something, so that there is nothing to answer.

A model that learned to answer questions from its memory takes a statement for a question: it
answers with a value from somewhere else, or says that it has no note. So what plainly tells is
noted. Plainly means: by the words with which English statements begin; what may ask for something,
and every other language, goes to the model as before.
"""

from __future__ import annotations

import re

__all__ = ["tells"]

_ASKING = frozenset(
    # question words, and what turns a sentence round
    "what who whom whose which when where why how is are am was were do does did can could will "
    "would shall should may might must have has had isn't aren't don't doesn't didn't can't "
    # what people ask a program for, and what they say to one
    "tell show give list write explain describe name find say answer read make help let summarise "
    "summarize translate compare count add draw plan suggest recommend define spell repeat "
    "continue complete rewrite create generate think guess look search check compute calculate "
    "convert sort pick choose teach imagine pretend act use try go come stop please hello hi hey "
    "thanks thank yes no ok okay".split()
)
_ASKS_ON = frozenset(
    "help want need wants needs wonder wondering wondered ask asking forgot forget please".split()
)
"""Words by which a statement about oneself asks for something after all."""
_ONESELF = frozenset("i we you i'm i've i'd i'll we're we've we'll you're you've".split())
_PRONOUNS = _ONESELF | frozenset("he she it they he's she's it's they're they've".split())
_DETERMINERS = frozenset(
    "my our your his her its their the a an this that these those there there's yesterday today "
    "tomorrow every each all some both nobody everybody everyone".split()
)
_FINITE = frozenset(
    "is are was were am has have had will would can could does did won't isn't wasn't aren't "
    "doesn't didn't can't cannot lives works likes loves hates plays belongs owns wants needs lies "
    "stands comes goes leaves arrives costs takes makes speaks studies knows keeps sits sleeps "
    "drives prefers collects bought sold got gave went came said told i'm he's she's it's they're "
    "there's".split()
)
_NEAR, _FAR = 4, 8
"""Among so many first words the verb stands: behind a name, and behind a noun, or a name's noun."""
_CLAUSE = frozenset("that which who whom whose when where what why how if".split())
"""Behind these the verb is another clause's: "Fix Ivo's car that was sold" tells nothing."""
_REMINDING = ("remember", "note", "please remember", "please note", "don't forget", "fyi")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_SENTENCE = re.compile(r"[.!\n]+(?:\s+|$)")


def tells(said: str) -> bool:
    """Whether each of its sentences plainly states something and asks for nothing."""
    if "?" in said:
        return False
    sentences = [one for one in _SENTENCE.split(said) if _WORD.search(one)]
    return bool(sentences) and all(_states(one) for one in sentences)


def _states(sentence: str) -> bool:
    words = [one.casefold().replace("\u2019", "'") for one in _WORD.findall(sentence)]
    start = " ".join(words[:2])
    if any(start == one or start.startswith(f"{one} ") for one in _REMINDING):
        return len(words) > 2
    first = words[0]
    if first in _ASKING or len(words) < 3:
        return False
    if first in _ONESELF and (_ASKS_ON.intersection(words) or {"would", "like"} <= set(words)):
        return False
    owned = any(one.endswith("'s") for one in words[:3]) and not _CLAUSE.intersection(words[:_FAR])
    reach = _FAR if first in _DETERMINERS or owned else _NEAR
    return first in _PRONOUNS or any(map(_is_finite, words[1:reach]))


def _is_finite(word: str) -> bool:
    return word in _FINITE or (len(word) > 4 and word.endswith("ed"))
