"""Whether a turn only tells something, so that there is nothing to answer.

A model that learned to answer questions from its memory takes a statement for a question: it
answers with a value from somewhere else, or says that it has no note. So what plainly tells is
noted. Plainly means: by the words with which English statements begin, and by their verbs; what may
ask for something, and every other language, goes to the model as before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from memplus.data.sentences import TITLES

__all__ = ["tells"]

_ASKING = frozenset(
    # question words, and what turns a sentence round
    "what who whom whose which when where why how is are am was were do does did can could will "
    "would shall should may might must have has had isn't aren't don't doesn't didn't can't "
    # what people ask a program for, and what they say to one
    "tell show give list write explain describe name find say answer read make help let let's "
    "summarise summarize translate compare count add draw plan suggest recommend define spell "
    "repeat continue complete rewrite create generate think guess look search check compute "
    "calculate convert sort pick choose teach imagine pretend act use try go come stop please "
    "remind hello hi hey thanks thank yes no ok okay".split()
)
_QUESTION = frozenset("what who whom whose which how why where".split())
_ASKS_ON = frozenset(
    "help want need wants needs wonder wondering wondered ask asking forgot forget please looking "
    "question".split()
)
"""Words by which a statement about oneself asks for something after all."""
_UNKNOWN = re.compile(
    r"\b(?:don't|do not|can't|cannot|can not|couldn't) (?:know|remember|recall|find|think of)\b"
    r"|\b(?:i'd|we'd|would) (?:like|love)\b"
)
"""So do these."""
_ONESELF = frozenset("i we you i'm i've i'd i'll we're we've we'll we'd you're you've".split())
_SUBJECTS = frozenset("i we you he she it they".split())
_PRONOUNS = _ONESELF | frozenset("he she it they he's she's it's they're they've".split())
_POSSESSIVES = frozenset("my our your his her its their".split())
_ARTICLES = _POSSESSIVES | frozenset("the a an this that these those".split())
_TIMES = frozenset(
    "yesterday today tonight tomorrow week month year morning evening night day weekend summer "
    "winter spring autumn ago now monday tuesday wednesday thursday friday saturday sunday".split()
)
_DETERMINERS = _ARTICLES | frozenset(
    "there there's yesterday today tonight tomorrow every each all some both nobody everybody "
    "everyone somebody someone nothing something everything most many old last next one two three "
    "four five six seven eight nine ten twelve mr mrs ms dr miss professor uncle aunt grandma "
    "grandpa captain nurse".split()
)
"""What stands before a noun, and other beginnings behind which a verb may be long in coming."""
_BETWEEN = frozenset(
    "for at on in since after before during until from besides without with by to behind under of "
    "over between near above below into about around across along through against among and or "
    "but than as".split()
)
"""Behind these a noun belongs to the one before."""
_FINITE = frozenset(
    "is are was were am has have had will would can could does did do won't isn't wasn't aren't "
    "doesn't didn't don't can't cannot i'm he's she's it's they're there's we'll they'll "
    "adds asks bakes becomes begins believes belongs borrows breaks brings builds buys carries "
    "catches chooses comes contains costs cries depends eats enjoys expects falls feeds finds fits "
    "follows forgets freezes gets gives goes grows happens hates hears hides holds includes joins "
    "keeps knows lasts laughs learns leaves lends lets lies likes lives loses loves makes manages "
    "meets mends mows needs opens owns plays prefers puts reads remembers says seems sells sends "
    "serves sews sings sits sleeps smells snores speaks spends stands starts steals swears swims "
    "takes teaches tells thinks throws understands wakes wants wears weighs works writes arrives "
    "drives collects "
    "ate became began bent blew bought broke brought built burnt caught came chose drank drew "
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
_DONE = _POSSESSIVES | frozenset(
    "a an the me us him her them it nothing everything every each himself herself itself "
    "themselves".split()
)
_NEAR, _FAR = 4, 8
"""Among so many first words the verb stands: behind a name, and behind a noun, or a name's noun."""
_CLAUSE = frozenset("that which who whom whose when where what why how if".split())
"""Behind these the verb is another clause's: "Fix Ivo's car that was sold" tells nothing."""
_UNENDED = frozenset("is are was were in at of to the a my what where when who".split())
"""No statement ends with these: a question put so, or a beginning that is to be ended."""
_BIDDING = frozenset("should must can could may might will would need".split())
"""Behind "you" these ask for something as often as they tell."""
_REMINDING = ("remember", "note", "please remember", "please note", "don't forget", "fyi")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_END = re.compile(r"[.!]+(?=\s|$)|\n+")
_TITLE = re.compile(rf"\b(?:{TITLES}|approx|e\.g|i\.e)\.$")
_NUMBER = re.compile(r"\b[Nn]os?\.$")
_WITHIN = re.compile(r"\b(?:[ap]\.m|etc|Inc|Ltd)\.$")
_INITIAL = re.compile(r"(?:\b[A-Z]\.\s*|\b[A-Z][a-z]+ )[A-Z]\.$")
_FIRST_INITIAL = re.compile(r"\b[A-Z]\.$")
_PART = re.compile(r"[,;:]\s+|\s[\u2013\u2014-]+\s|\b(?:and|so)\s+", re.IGNORECASE)
_BIDS = re.compile(
    r"(?!(?:i|we|you|he|she|it|they)\b)[a-z]+ (?:me|it|them|this|these)\b", re.IGNORECASE
)
"""How a part that asks begins, whatever its verb: "fix it", "quiz me"."""


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
    if _TITLE.search(before):
        return True
    if _NUMBER.search(before):
        return after[0].isdigit()
    if _WITHIN.search(before):
        return following[0] in _BETWEEN or following[0] in _TIMES
    if _INITIAL.search(before):
        return after[0].isupper()
    return bool(_FIRST_INITIAL.search(before) and re.match(r"[A-Z]\.", after))


def _words(text: str) -> list[str]:
    return [one.casefold().replace("\u2019", "'") for one in _WORD.findall(text)]


def _states(sentence: str) -> bool:
    words = _words(sentence)
    for count in (2, 1):
        if len(words) >= count and " ".join(words[:count]) in _REMINDING:
            rest = sentence[[one.end() for one in _WORD.finditer(sentence)][count - 1] :]
            return _reminds(rest.lstrip(" ,:"))
    if len(words) < 3 or words[-1] in _UNENDED or words[-2] == "which":
        return False
    first = words[0]
    if first in _ASKING or words[1] in _QUESTION or words[1] == "when":
        return False
    if any(map(_asks, _PART.split(sentence)[1:])):
        return False
    if (first in _ONESELF and _asks_on(words)) or (first == "you" and words[1] in _BIDDING):
        return False
    owned = any(one.endswith("'s") for one in words[:3]) and not _CLAUSE.intersection(words[:_FAR])
    reach = _FAR if first in _DETERMINERS or owned else _NEAR
    return first in _PRONOUNS or _has_verb(_WORD.findall(sentence), words, reach)


def _reminds(rest: str) -> bool:
    """Whether what stands behind "remember" and the like is something to remember."""
    words = _words(rest)
    if len(words) < 2 or words[0] in _QUESTION:
        return False
    if words[0] == "to":
        return True
    return _states(rest[4:].lstrip() if words[0] == "that" else rest)


def _asks(part: str) -> bool:
    """Whether a later part of a sentence asks for something."""
    words = _words(part)
    if not words:
        return False
    if words[0] in ("who", "which", "whose"):  # of somebody just named: "who is a baker"
        return len(words) < 3 or (words[1] in _ASKING and words[2] not in _ARTICLES)
    if words[0] in ("where", "when"):
        return len(words) < 2 or words[1] in _ASKING
    return (words[0] in _ASKING and words[0] not in _FINITE | {"no", "may"}) or bool(
        _BIDS.match(part) and words[0] not in _FINITE
    )


def _asks_on(words: Sequence[str]) -> bool:
    return bool(_ASKS_ON.intersection(words) or _UNKNOWN.search(" ".join(words)))


def _has_verb(written: Sequence[str], words: Sequence[str], reach: int) -> bool:
    """Whether what a statement begins with has a verb, among its first words.

    Args:
        written: the words as they stand.
        words: in small letters.
        reach: how many.
    """
    place = next((at for at in range(1, min(reach, len(words))) if _is_finite(words, at)), None)
    if place is None:
        return False
    other = _second(written, words, place)
    if other is None:
        return True
    # "The total I paid" has no verb of its own, "The total I paid was 40" has.
    own = other + 1 if words[other] in _SUBJECTS else place
    return any(_is_finite(words, at) for at in range(own + 1, len(words)))


def _second(written: Sequence[str], words: Sequence[str], verb: int) -> int | None:
    """Where another noun begins that the verb belongs to, as in "the song Anna sang"."""
    for at in range(1, verb):
        before = words[at - 1]
        if before in _BETWEEN or before in _TIMES or before in _DETERMINERS:
            continue
        named = written[at][0].isupper() and not written[at - 1][0].isupper()
        if named and words[0] in _POSSESSIVES:
            continue  # "my sister Anna"
        if named or words[at] in _SUBJECTS | _ARTICLES or words[at] in ("who", "which"):
            return at
    return None


def _is_finite(words: Sequence[str], place: int) -> bool:
    word, before = words[place], words[place - 1]
    if word in _DOING:
        after = words[place + 1] if place + 1 < len(words) else ""
        return after in _DONE or after.isdigit()
    if word in _OF_SEVERAL:
        return before.endswith("s")
    return word in _FINITE or (len(word) > 4 and word.endswith("ed"))
