"""Whether a turn only tells something, so that there is nothing to answer.

A model that learned to answer questions from its memory takes a statement for a question: it
answers with a value from somewhere else, or says that it has no note. So what plainly tells is
noted. Plainly means: by the words with which English statements begin, and by their verbs; what may
ask for something, and every other language, goes to the model as before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

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
    "thanks thank yes no ok okay remind".split()
)
_ASKS_ON = frozenset(
    "help want need wants needs wonder wondering wondered ask asking forgot forget please".split()
)
"""Words by which a statement about oneself asks for something after all."""
_ONESELF = frozenset("i we you i'm i've i'd i'll we're we've we'll we'd you're you've".split())
_PRONOUNS = _ONESELF | frozenset(
    "he she it they he's she's it's they're they've he'd she'd they'd he'll she'll they'll "
    "it'll".split()
)
_DETERMINERS = frozenset(
    "my our your his her its their the a an this that these those there there's yesterday today "
    "tonight tomorrow every each all some both nobody everybody everyone somebody someone nothing "
    "something everything most many old new last next one two three four five six seven eight "
    "nine ten twelve mr mrs ms dr miss professor uncle aunt grandma grandpa captain nurse".split()
)
"""What stands before a noun, and other beginnings behind which a verb may be long in coming."""
_SETTING = frozenset(
    "for at on in since after before during until till from besides without with by to behind "
    "under despite still honestly oddly sadly luckily apparently usually normally sometimes "
    "otherwise now then".split()
)
_SUBORDINATE = frozenset("if when whenever as while because although though once unless".split())
"""With words of these two kinds a sentence may begin before it tells anything, or asks for it."""
_FINITE = frozenset(
    "is are was were am has have had will would can could does did do must should won't isn't "
    "wasn't aren't doesn't didn't don't can't cannot i'm he's she's it's they're there's we'll "
    "they'll "
    "adds asks bakes becomes begins believes belongs borrows breaks brings builds buys carries "
    "catches chooses comes contains costs cries depends eats enjoys expects falls feeds finds fits "
    "follows forgets freezes gets gives goes grows happens hates hears hides holds includes joins "
    "keeps knows lasts laughs learns leaves lends lets lies likes lives loses loves makes manages "
    "meets mends mows needs opens owns plays prefers puts reads remembers says seems sells sends "
    "serves sews sings sits sleeps smells snores speaks spends stands starts steals swears swims "
    "takes teaches tells thinks throws understands wakes wants wears weighs works writes arrives "
    "drives collects "
    "ate became began bent blew bought broke brought built burnt came caught chose did drank drew "
    "drove flew forgot fought froze gave got grew held hid kept knew laid learnt lent lost made "
    "meant met paid ran rang said sang sat sent shook slept sold spent stole stood swam swore "
    "taught thought threw told took tore understood went woke won wore wrote".split()
)
_OF_SEVERAL = frozenset("belong come cost get go keep leave live meet need play start work".split())
"""Verbs too where what stands before them is a plural."""
_DOING = frozenset(
    "barks beats bites boils calls cares changes cleans climbs closes cooks counts covers cuts "
    "dances draws dreams drinks ends feels fills finishes fixes flies hangs helps hits hopes hurts "
    "jumps kicks lands leads lifts looks matters means measures misses mixes moves orders paints "
    "parks passes pays picks points pours prepares promises pulls pushes rents repairs rides rings "
    "rises runs saves sees sets shares shines shuts stays stops studies talks tastes tries turns "
    "uses visits waits walks washes watches wins wonders worries "
    "beat bit cost cut dealt fell felt found heard hit hung hurt led left let put quit read rode "
    "rose saw set shone shot showed shut spoke".split()
)
"""Verbs that are nouns as often, or another's attribute; what they do stands behind the verb."""
_DONE = frozenset(
    "a an the my your his her our their its me us him them it nothing everything every each "
    "himself herself itself themselves".split()
)
_NEAR, _FAR = 4, 10
"""Among so many first words the verb stands: behind a name, and behind a noun, or a name's noun."""
_CLAUSE = frozenset("that which who whom whose when where what why how if".split())
"""Behind these the verb is another clause's: "Fix Ivo's car that was sold" tells nothing."""
_RELATIVE = frozenset("i we you he she they that who which".split())
"""Right behind these, after a noun, the verb is such a clause's: "the total I paid in March"."""
_BID = frozenset("should must can could may might will would need have".split())
"""Behind "you" these ask for something as often as they tell."""
_QUESTION = frozenset("what who whom whose which how why where".split())
_REMINDING = ("remember", "note", "please remember", "please note", "don't forget", "fyi")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_END = re.compile(r"[.!]+(?=\s|$)|\n+")
_SHORT = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Rev|Capt|Col|Gen|Hon|Jr|vs|approx|[A-Z])\.$")
_SHORT_WITHIN = re.compile(r"\b(?:[Nn]os?|[ap]\.m|e\.g|i\.e|etc|Inc|Ltd)\.$")
"""Abbreviations that end no sentence, and such as may: before what is no small letter or digit."""
_PART = re.compile(r"[,;:]\s+|\s[\u2013\u2014-]+\s")


def tells(said: str) -> bool:
    """Whether each of its sentences plainly states something and asks for nothing."""
    if "?" in said:
        return False
    sentences = [one for one in _sentences(said) if _WORD.search(one)]
    return bool(sentences) and all(_states(one) for one in sentences)


def _sentences(said: str) -> Iterator[str]:
    start = 0
    for found in _END.finditer(said):
        end = found.end()
        if not _is_abbreviation(said[start:end], said[end:].lstrip()):
            yield said[start:end]
            start = end
    yield said[start:]


def _is_abbreviation(before: str, after: str) -> bool:
    """Whether a stop ends a word that is cut short, and the sentence goes on behind it."""
    following = _words(after[:40])
    if not following or following[0] in _ASKING:
        return False
    goes_on = after[0].islower() or after[0].isdigit()
    return bool(_SHORT.search(before) or (goes_on and _SHORT_WITHIN.search(before)))


def _words(text: str) -> list[str]:
    return [one.casefold().replace("\u2019", "'") for one in _WORD.findall(text)]


def _states(sentence: str) -> bool:
    words = _words(sentence)
    start = " ".join(words[:2])
    if any(start == one or start.startswith(f"{one} ") for one in _REMINDING):
        return len(words) > 2
    if len(words) < 3:
        return False
    first, parts = words[0], [_words(one) for one in _PART.split(sentence)]
    if any(part and part[0] in _ASKING and part[0] != "no" for part in parts[1:]):
        return False
    if first in _SUBORDINATE or first in _SETTING:
        rest = [one for part in parts[1:] for one in part]
        if _QUESTION.intersection(words) or words[1] in _ASKING:
            return False
        if rest and (_begins_telling(rest) or first in _SUBORDINATE):
            return _begins_telling(rest)
        return first in _SETTING and _tells_of_somebody(words[1:])
    return _begins_telling(words)


def _begins_telling(words: Sequence[str]) -> bool:
    """Whether whom or what it tells of stands first, and what is told of it soon behind."""
    first = words[0]
    if first in _ASKING:
        return False
    if first in _ONESELF and _asks_on(words):
        return False
    if first == "you" and words[1:2] and words[1] in _BID:
        return False
    owned = any(one.endswith("'s") for one in words[:3]) and not _CLAUSE.intersection(words[:_FAR])
    reach = _FAR if first in _DETERMINERS or owned else _NEAR
    return first in _PRONOUNS or _has_verb(words[:reach], words)


def _tells_of_somebody(words: Sequence[str]) -> bool:
    """Whether somebody does something behind the setting of a sentence."""
    if _ONESELF.intersection(words) and _asks_on(words):
        return False
    return bool(_PRONOUNS.intersection(words)) or _has_verb(words[:_FAR], words)


def _asks_on(words: Sequence[str]) -> bool:
    return bool(_ASKS_ON.intersection(words)) or {"would", "like"} <= set(words)


def _has_verb(within: Sequence[str], words: Sequence[str]) -> bool:
    return any(_is_finite(words, place) for place in range(1, len(within)))


def _is_finite(words: Sequence[str], place: int) -> bool:
    word, before = words[place], words[place - 1]
    if before in _RELATIVE:
        return False
    if word in _DOING:
        after = words[place + 1] if place + 1 < len(words) else ""
        return after in _DONE or after.isdigit()
    if word in _OF_SEVERAL:
        return before.endswith("s")
    return word in _FINITE or (len(word) > 4 and word.endswith("ed"))
