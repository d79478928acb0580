"""What is said in histories made by rule, where no statement of the caller is."""

from __future__ import annotations

from dataclasses import dataclass

from memplus.data.plain_names import Kind

__all__ = [
    "ACKNOWLEDGED",
    "ADVICE",
    "COUNTED",
    "DEEDS",
    "PREFERENCES",
    "SHOWN",
    "Advice",
    "Counted",
    "Deed",
    "Preference",
]


@dataclass(frozen=True, slots=True)
class Advice:
    """The user asks for advice, the assistant names something."""

    asks: str
    says: str
    """With {} for the name."""
    kind: Kind
    """Of the name."""
    question: str


@dataclass(frozen=True, slots=True)
class Preference:
    """What the user likes, and a question that is answered well only by who knows it."""

    says: str
    """With {} for the value."""
    question: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """Something told once for each of several values."""

    says: str
    """With {} for the value."""
    question: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that the user did on one day."""

    said: str
    """On that day."""
    done: str
    """After "I": "planted the pear tree"."""


ADVICE = (
    Advice(
        "I need a book for a long train ride. Any idea?",
        "Take {}. It is short, and it begins on a train.",
        "book",
        "Which book did you suggest for my train ride?",
    ),
    Advice(
        "What could I read to my niece before she sleeps?",
        "Children of her age like {}.",
        "book",
        "Which book did you say I could read to my niece?",
    ),
    Advice(
        "Who could repair our roof?",
        "I would ask {}; they do small jobs too.",
        "company",
        "Which firm did you name for repairing our roof?",
    ),
    Advice(
        "We must move a piano up two floors. Who does that?",
        "{} does it, with a crane if there must be one.",
        "company",
        "Which firm did you say could move our piano?",
    ),
    Advice(
        "Whom should I ask about insurance for the boat?",
        "Begin with {}, they answer quickly.",
        "company",
        "Where did you tell me to ask about insurance for the boat?",
    ),
    Advice(
        "Where can one spend a quiet weekend?",
        "Try {}: a river, two cafés and no through traffic.",
        "town",
        "Which town did you suggest for a quiet weekend?",
    ),
    Advice(
        "Where do I change trains on the way to the coast?",
        "You change in {}, from platform two to platform five.",
        "town",
        "Where did you say that I change trains on the way to the coast?",
    ),
    Advice(
        "Is there a market for old furniture anywhere near?",
        "There is one in {} on the first Saturday of every month.",
        "town",
        "In which town is the market for old furniture that you told me about?",
    ),
    Advice(
        "I am looking for somebody who gives good talks about bees.",
        "{} does, and comes for the fare alone.",
        "person",
        "Who did you say gives good talks about bees?",
    ),
    Advice(
        "Who could translate a letter from Danish for me?",
        "{} translates letters and takes a week.",
        "person",
        "Who did you say could translate my Danish letter?",
    ),
    Advice(
        "Does any club here take people who have never rowed?",
        "{} takes beginners every spring.",
        "club",
        "Which club did you say takes people who have never rowed?",
    ),
    Advice(
        "My son wants to play chess with others. Where?",
        "The evenings of {} are open to everybody.",
        "club",
        "Which club's chess evenings did you tell me about?",
    ),
)
PREFERENCES = (
    Preference(
        "No coffee for me in the evening, I only take {} then.",
        "It is nine in the evening and you make me something hot. What will it be?",
        ("rooibos tea", "hot milk", "ginger tea", "mint tea", "cocoa", "fennel tea"),
    ),
    Preference(
        "On trains I always sit {}, or I feel sick.",
        "Please book me a seat on the train. Which kind will you take?",
        ("by the window", "on the aisle", "near the door", "facing forwards", "upstairs"),
    ),
    Preference(
        "When I give flowers they are {}, never anything else.",
        "I want to bring flowers tomorrow. Which shall I buy?",
        ("white tulips", "sunflowers", "blue irises", "dahlias", "yellow roses", "peonies"),
    ),
    Preference(
        "I can only work to music if it is {}.",
        "Put on something while I work, please. What do you choose?",
        ("Cuban jazz", "organ music", "slow blues", "string quartets", "bagpipes", "film scores"),
    ),
    Preference(
        "I do not like bread with anything sweet. On mine there must be {}.",
        "You make me a slice of bread. What do you put on it?",
        ("mustard", "goat cheese", "smoked trout", "radishes", "liver sausage", "hummus"),
    ),
    Preference(
        "For a present I never want things, only {}.",
        "What would I be glad to get for my birthday?",
        ("concert tickets", "book vouchers", "a day at the sea", "a dinner out", "time alone"),
    ),
    Preference(
        "If I must do sport at all, then {}.",
        "Which sport could you talk me into this week?",
        ("table tennis", "rowing", "fencing", "curling", "climbing", "archery"),
    ),
    Preference(
        "I find films hard to bear unless they are {}.",
        "Choose a film for me tonight. What kind do you look for?",
        (
            "silent films",
            "westerns",
            "courtroom dramas",
            "nature films",
            "puppet films",
            "musicals",
        ),
    ),
    Preference(
        "I paint every room that I live in {}.",
        "My new study needs paint. Which colour do I want?",
        ("pale green", "dark blue", "terracotta", "lemon yellow", "dove grey", "plum"),
    ),
    Preference(
        "Write to me by {} if it matters, I look at nothing else.",
        "Something important comes up. How do you reach me?",
        ("text message", "postcard", "voice mail", "telegram", "fax", "e-mail"),
    ),
)
COUNTED = (
    Counted(
        "I bought {} for the balcony today.",
        "How many plants did I tell you that I bought for the balcony?",
        ("a fig tree", "a rosemary bush", "a clematis", "a lemon tree", "a fern", "a jasmine"),
    ),
    Counted(
        "Another guest is coming to the anniversary: {} said yes.",
        "How many guests did I tell you said yes to the anniversary?",
        ("Aunt Hedda", "my old teacher", "Cousin Rolf", "the vicar", "our dentist", "Uncle Pim"),
    ),
    Counted(
        "I finished a jigsaw today, the one of {}.",
        "How many jigsaws have I told you that I finished?",
        ("a castle", "a windmill", "the moon", "a fish market", "a steam engine", "an owl"),
    ),
    Counted(
        "I lent something from the shed again, {} this time.",
        "How many things from the shed did I tell you that I lent?",
        ("the long ladder", "the drill", "the wheelbarrow", "a rake", "the saw", "two buckets"),
    ),
    Counted(
        "I looked at a flat {} this morning.",
        "How many flats did I tell you that I looked at?",
        ("by the station", "over a bakery", "near the park", "on the hill", "at the canal"),
    ),
    Counted(
        "The choir has a new song, it is about {}.",
        "How many new songs did I tell you that the choir has?",
        ("a ferry", "the harvest", "a lost ring", "the first snow", "two brothers", "a miller"),
    ),
    Counted(
        "My sister sent me a parcel, with {} in it.",
        "How many parcels did I tell you that my sister sent me?",
        ("a scarf", "pickled plums", "old letters", "a teapot", "six spoons", "a globe"),
    ),
    Counted(
        "I gave a lesson in drawing today, we did {}.",
        "How many lessons in drawing did I tell you that I gave?",
        ("hands", "bottles", "trees in winter", "faces", "roofs", "folded cloth"),
    ),
    Counted(
        "There was a power cut, I was just {}.",
        "How many power cuts did I tell you about?",
        ("ironing", "in the lift", "baking", "on the telephone", "shaving", "watching the news"),
    ),
    Counted(
        "I found a coin for the collection, from {}.",
        "How many coins for the collection did I tell you that I found?",
        ("Malta", "Peru", "Iceland", "Tunisia", "Nepal", "Fiji"),
    ),
)
DEEDS = (
    Deed("I planted the pear tree today.", "planted the pear tree"),
    Deed("This afternoon I gave the bicycle back.", "gave the bicycle back"),
    Deed("I signed the lease today.", "signed the lease"),
    Deed("I had the clock repaired today.", "had the clock repaired"),
    Deed("Today I took the last exam.", "took the last exam"),
    Deed("I sold the caravan this morning.", "sold the caravan"),
    Deed("We painted the fence today.", "painted the fence"),
    Deed("I met the new neighbours today.", "met the new neighbours"),
    Deed("I sent off the tax form today.", "sent off the tax form"),
    Deed("I finished the quilt today.", "finished the quilt"),
    Deed("This morning I gave blood.", "gave blood"),
    Deed("I cleared out the attic today.", "cleared out the attic"),
    Deed("I had my hair cut short today.", "had my hair cut short"),
    Deed("I rode to the lighthouse today.", "rode to the lighthouse"),
    Deed("I wrote to the mayor today.", "wrote to the mayor"),
    Deed("I swam across the lake today.", "swam across the lake"),
    Deed("I bottled the cider today.", "bottled the cider"),
    Deed("I gave my first speech today.", "gave my first speech"),
    Deed("I opened the shop today.", "opened the shop"),
    Deed("I buried the old radio today.", "buried the old radio"),
    Deed("I won the raffle today.", "won the raffle"),
    Deed("I replaced the boiler today.", "replaced the boiler"),
    Deed("I returned the tent today.", "returned the tent"),
    Deed("I saw the eclipse today.", "saw the eclipse"),
)
ACKNOWLEDGED = (
    "Noted.",
    "Good to know.",
    "Thank you for telling me.",
    "I will keep that in mind.",
    "All right.",
    "I see. Tell me more whenever you like.",
    "Understood.",
    "That is worth remembering.",
)
SHOWN = (
    "Please read this and keep it for me: {}",
    "I copied this passage today: {}",
    "What do you make of this? {}",
    "Here is something I came across: {}",
    "Store this with the other excerpts, please: {}",
)
"""Before a passage of prose."""
