"""MemLLM's adapters by themselves: what is written, what is asked, what is near.

    python benchmarks/memllm.py write --weights runs/memllm --data ../shared/data
    python benchmarks/memllm.py fill --weights runs/memllm --data ../shared/data --out filled.jsonl
    python benchmarks/memllm.py read --weights runs/memllm
    python benchmarks/memllm.py perplexity --weights runs/memllm --data ../shared/data
    python benchmarks/memllm.py editing --weights runs/memllm
    python benchmarks/memllm.py thresholds
    python benchmarks/memllm.py grid --count 300

``write`` counts the triples of held-out documents (exact strings): precision, recall and F1, calls
that are whole, and what is written of prose that says nothing. ``fill`` keeps what the write
adapter makes of documents of the training split, for the read adapter's examples. ``read`` asks for
held-out facts that were put into the memory by hand: calls that parse, recall of the triple that is
asked for, right answers. ``perplexity`` reads held-out documents of facts and articles beside one
memory of all of them, which the write adapter filled, or (``--by-hand``) the true triples: how well
their tokens, targets and entities are predicted by the plain base, without the memory and with it,
where and what is asked being the adapter's choice or given (``memllm_ladder.py`` says how the
paper's protocol is read). ``editing`` tells facts, corrects every second one later, and then asks:
is the new value in the answer (reliability), also to the question in other words (generality), and
are answers about the other facts as before (locality)? Once with ``update=replace``, once with
``add``. ``thresholds`` compares vectors of names written in two ways with those of different names,
for every number of layers. ``grid`` chooses the three distances of a look-up by what they find and
what they find wrongly (``memllm_thresholds.py``). ``--weights`` holds the folders ``write`` and
``read``. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import fmean

from memllm_ladder import MEANS, Ladder, text_of
from memllm_thresholds import measure_grid, measure_thresholds
from shapes import add_device

from memplus import MPlus
from memplus.data.note_parts import QUESTIONS
from memplus.data.spoken_facts import SpokenFact, SpokenFacts
from memplus.evaluation.engine.summary import wilson
from memplus.systems.memllm.read_examples import read_pieces
from memplus.systems.memllm.session import CallReply
from memplus.systems.memllm.system import MemLLMSystem
from memplus.systems.memllm.tools import READ_FOLDER, WRITE_FOLDER, MemLLMOptions, Tools
from memplus.systems.memllm.write_examples import write_examples
from memplus.systems.own_adapters import OwnAdapters
from memplus.systems.shared import Shared
from memplus.systems.triples.rows import Triple, Update
from memplus.systems.triples.vectors import PhraseVectors
from memplus.training.masked.memllm_documents import DocumentSources, Told, annotated
from memplus.training.masked.memllm_read import Filled
from memplus.training.masked.memllm_write import plain_sentences

__all__ = ["main"]

ARTICLES = "multihop/2wikimultihopqa_corpus.json.gz"
COUNTS = {
    "write": 60, "fill": 60, "read": 60, "perplexity": 12, "editing": 8, "thresholds": 60,
    "grid": 200,
}  # fmt: skip
"""What can be measured -> of how many documents, questions, edits or names if that is not said."""
STORIES = "babi/babi_tasks_1-20_v1-2_en.zip"
PROSE = "books_litbank/litbank_100_books.jsonl.gz"


def sources(data: str, *, held_out: bool, stories: bool = True) -> DocumentSources:
    """Documents of a split; without data only those that are made up."""
    split = "held_out" if held_out else "train"
    facts = SpokenFacts(split)  # type: ignore[arg-type]
    if not data:
        return DocumentSources(split, facts=facts)  # type: ignore[arg-type]
    folder = Path(data)
    return DocumentSources(
        split,  # type: ignore[arg-type]
        articles=str(folder / ARTICLES),
        stories=str(folder / STORIES) if stories else "",
        prose=plain_sentences([str(folder / PROSE)], held_out=held_out),
        facts=facts,
    )


def documents(found: DocumentSources, count: int, seed: int) -> list[tuple[str, list[Told]]]:
    """Documents of every kind there is, in turn, with the kind's name."""
    kinds = [("facts", found.made_up)]
    kinds += [("articles", found.article)] if found.openings else []
    kinds += [("stories", found.story)] if found.told else []
    made = []
    for number in range(count):
        name, make = kinds[number % len(kinds)]
        made.append((name, make(Random(f"{seed}/{number}"))))
    return made


def shares(right: int, said: int, wanted: int) -> dict[str, float]:
    """Precision, recall and F1."""
    precision, recall = right / max(1, said), right / max(1, wanted)
    return {
        "precision": round(precision, 3),
        "recall": round(recall, 3),
        "f1": round(2 * precision * recall / max(1e-9, precision + recall), 3),
        "wanted": wanted,
    }


def measure_writes(system: MemLLMSystem, given: argparse.Namespace) -> dict[str, object]:
    """Triples of held-out documents, sentence by sentence, and of prose."""
    found = sources(given.data, held_out=True)
    counts: dict[str, list[int]] = {}
    sentences = parsed = dropped = 0
    started = time.perf_counter()
    for kind, told in documents(found, given.count, given.seed):
        session = system.open(0)
        document = annotated(told)
        examples = write_examples(document, Random(0))
        outcomes = session._calls_of(example.focus for example in examples)
        for example, outcome in zip(examples, outcomes, strict=True):
            written = outcome.value()
            sentences, parsed = sentences + 1, parsed + written.parses
            dropped += written.dropped
            right = len(set(written.triples) & set(example.triples))
            row = counts.setdefault(kind, [0, 0, 0])
            for place, more in enumerate((right, len(written.triples), len(example.triples))):
                row[place] += more
    whole = [sum(column) for column in zip(*counts.values(), strict=True)]
    prose = Random(given.seed).sample(found.prose, min(given.prose, len(found.prose)))
    false = [outcome.value() for outcome in system.tools.write(("", one) for one in prose)]
    return {
        "all": shares(*whole),
        **{kind: shares(*row) for kind, row in counts.items()},
        "calls_whole": round(parsed / max(1, sentences), 3),
        "triples_dropped": dropped,
        "sentences": sentences,
        "prose_sentences": len(prose),
        "triples_of_prose": sum(len(one.triples) for one in false),
        "seconds_a_sentence": round((time.perf_counter() - started) / (sentences + len(prose)), 2),
    }


def fill(system: MemLLMSystem, given: argparse.Namespace) -> dict[str, object]:
    """A file of documents of the training split and what is written of each."""
    found = sources(given.data, held_out=False)
    triples = 0
    with Path(given.out).open("w", encoding="utf-8") as file:
        for _, told in documents(found, given.count, given.seed):
            session = system.open(0)
            session.write(annotated(told).text + " ", "document")
            session.flush()
            written = tuple(row.triple for row in session.table.rows())
            triples += len(written)
            file.write(json.dumps(Filled(tuple(told), written).as_json()) + "\n")
            file.flush()
    return {"documents": given.count, "triples": triples, "out": given.out}


def held_out_facts(count: int, seed: int) -> list[SpokenFact]:
    """Facts of no training, each of another subject or relation."""
    found: dict[tuple[str, str], SpokenFact] = {}
    for number in range(10 * count):
        fact = SpokenFacts("held_out").draw(Random(f"{seed}/{number}"))
        found.setdefault((fact.subject, fact.relation), fact)
    return list(found.values())[:count]


def measure_reads(system: MemLLMSystem, given: argparse.Namespace) -> dict[str, object]:
    """Questions about facts that were put into one memory by hand."""
    facts = held_out_facts(given.count, given.seed)
    session = system.open(0)
    session.table.add([Triple(*fact.triple) for fact in facts], "facts")
    replies = session.ask([fact.question for fact in facts], max_new_tokens=24)
    calls = [one for one in replies if isinstance(one, CallReply)]
    pairs = list(zip(facts, calls, strict=True))
    parsed, made = sum(one.parsed for one in calls), sum(one.calls for one in calls)
    return {
        "questions": len(facts),
        "asked": round(sum(one.calls > 0 for one in calls) / len(calls), 3),
        "calls_that_parse": round(parsed / max(1, made), 3),
        "recall_of_triple": round(sum(f.value in c.found for f, c in pairs) / len(pairs), 3),
        "right": round(sum(f.value in c.text for f, c in pairs) / len(pairs), 3),
        "declined": round(sum(c.declined for c in calls) / len(calls), 3),
    }


def measure_perplexity(system: MemLLMSystem, given: argparse.Namespace) -> dict[str, object]:
    """Documents with something to ask for, beside one memory of all of them."""
    found = sources(given.data, held_out=True, stories=False)  # all stories are of the same people
    told = [one for _, one in documents(found, 4 * given.count, given.seed)]
    told = [one for one in told if read_pieces(annotated(one))][: given.count]
    session = system.open(0)
    wanted: set[Triple] = set()
    for number, sentences in enumerate(told):
        document, source = annotated(sentences), f"document {number}"
        said = [one for e in write_examples(document, Random(0)) for one in e.triples]
        wanted |= set(said)
        if given.by_hand:
            session.table.add(said, source)
        else:
            session.write(f"{document.text} ", source)
    session.flush()
    stored = {row.triple for row in session.table.rows()}
    ladder = Ladder(system, session.table)
    texts = [text_of(system, annotated(one)) for one in told]
    for number, text in enumerate(texts):
        ladder.read(text)
        print(f"{number + 1}/{len(texts)} documents", file=sys.stderr)
    figures = ladder.figures()
    print(f"| | {' | '.join(MEANS)} | target, -log p less memory disabled |\n|---|---|---|---|---|")
    for rung, row in figures.items():
        cells = [_with_interval(row[name]) for name in MEANS]
        less = " +- ".join(str(one) for one in row["target less disabled"])
        print(f"| {rung} | {' | '.join(cells)} | {less} |")
    return {
        "documents": len(told),
        "tokens": sum(len(one.ids) - 1 for one in texts),
        "targets": sum(len(one.targets) for one in texts),
        "mentions": sum(len(one.mentions) for one in texts),
        "memory": "by hand" if given.by_hand else "by the write adapter",
        "triples": shares(len(stored & wanted), len(stored), len(wanted)),
        "calls": ladder.counts,
        "rungs": figures,
    }


def otherwise(fact: SpokenFact) -> str:
    """The question about a fact in other words."""
    wordings = (one.format(s=fact.subject, a=fact.relation) for one in QUESTIONS["held_out"])
    return next(one for one in wordings if one != fact.question)


def measure_editing(system: MemLLMSystem, given: argparse.Namespace) -> dict[str, object]:
    """Facts in one memory, every second one corrected later, by both rules of updating."""
    facts = held_out_facts(2 * given.count, given.seed)
    edits = [
        (one, SpokenFacts("held_out").changed(one, Random(f"{given.seed}/{number}")))
        for number, one in enumerate(facts[::2])
    ]
    updates: tuple[Update, ...] = ("replace", "add")
    found = {}
    for update in updates:
        options = replace(system.options, update=update)
        found[update] = edited(MemLLMSystem(system.shared, options), edits, facts[1::2])
    return {"edits": len(edits), "others": len(facts[1::2]), **found}


def edited(
    system: MemLLMSystem, edits: Sequence[tuple[SpokenFact, SpokenFact]], others: list[SpokenFact]
) -> dict[str, object]:
    """What is answered after all edits, in one memory."""
    session = system.open(0)

    def tell(source: str, facts: Iterable[SpokenFact]) -> None:
        session.write("".join(f"{one.statement} " for one in facts), source)
        session.flush()

    def asked(questions: Iterable[str]) -> list[CallReply]:
        replies = session.ask([*questions], max_new_tokens=24)
        return [one for one in replies if isinstance(one, CallReply)]

    tell("notes", (one for pair in zip(edits, others) for one in (pair[0][0], pair[1])))
    before = asked(one.question for one in others)
    tell("corrections", (later for _, later in edits))
    stored = {row.triple for row in session.table.rows()}
    pairs = list(zip(edits, asked(one.question for one, _ in edits), strict=True))
    missed = Counter(
        _reason(later, reply, stored) for (_, later), reply in pairs if not says(reply, later.value)
    )
    again = zip(edits, asked(otherwise(one) for one, _ in edits), strict=True)
    now = asked(one.question for one in others)
    shares_of = {
        "reliability": [says(reply, later.value) for (_, later), reply in pairs],
        "generality": [says(reply, later.value) for (_, later), reply in again],
        "locality": [one.text == other.text for one, other in zip(before, now, strict=True)],
    }
    untouched = [says(reply, one.value) for one, reply in zip(others, now, strict=True)]
    older = [says(reply, one.value) for (one, _), reply in pairs]
    return {
        **{name: share(found) for name, found in shares_of.items()},
        "mean": round(fmean(fmean(found) for found in shares_of.values()), 3),
        "others_right": share(untouched),
        "older_value_said": share(older),
        "missed": {name: missed[name] for name in ("not written", "not found", "not said")},
    }


def _reason(later: SpokenFact, reply: CallReply, stored: set[Triple]) -> str:
    """Where a correction that is not answered was lost."""
    if Triple(*later.triple) not in stored:
        return "not written"
    return "not said" if later.value in reply.found else "not found"


def says(reply: CallReply, value: str) -> bool:
    """Whether a value stands in an answer, capitals or not."""
    return value.casefold() in reply.text.casefold()


def share(right: Sequence[bool]) -> list[float]:
    """A share, and its 95% interval."""
    return [round(one, 3) for one in (sum(right) / len(right), *wilson(sum(right), len(right)))]


def _with_interval(found: Mapping[str, float]) -> str:
    interval = f" ({found['low']} to {found['high']})" if "low" in found else ""
    return f"{found['perplexity']}{interval}"


def _unread(folder: Path) -> bool:
    """Whether the read adapter is not there yet."""
    return bool(OwnAdapters("", (), folder, (READ_FOLDER,)).missing)


def _with_one_adapter(folder: Path) -> str:
    """A folder in which the write adapter stands for the read adapter, which is not used."""
    made = Path(tempfile.mkdtemp(prefix="memplus-"))
    for part in (WRITE_FOLDER, READ_FOLDER):
        (made / part).symlink_to((folder / WRITE_FOLDER).resolve())
    return str(made)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=[*COUNTS])
    parser.add_argument("--model", default="smollm2", help="the model with memory")
    add_device(parser)
    parser.add_argument("--weights", default="", help="folder of the adapters; default: shipped")
    parser.add_argument("--data", default="", help="the data folder; without it only made-up facts")
    counts = ", ".join(f"{what} {count}" for what, count in COUNTS.items())
    parser.add_argument("--count", type=int, help=f"documents, facts, edits or names: {counts}")
    parser.add_argument("--by-hand", action="store_true", help="perplexity: of the true triples")
    parser.add_argument("--prose", type=int, default=40, help="sentences of prose")
    parser.add_argument(
        "--setting", default="own", help="which distances of look-ups count as near"
    )
    parser.add_argument("--false", type=float, default=0.01, help="grid: share of false hits")
    parser.add_argument("--out", default="filled.jsonl", help="file that fill writes")
    parser.add_argument("--late-stopping", default="generated", help="generated, whole or off")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    given.count = given.count or COUNTS[given.what]
    model = MPlus.from_pretrained(given.model, dtype="float32", device=given.device).eval()
    if given.what == "thresholds":
        print(json.dumps(measure_thresholds(model, given.count, given.seed)))
        return 0
    if given.what == "grid":
        embed = PhraseVectors(model.core, min(Tools.vector_layers, len(model.core.backbone.layers)))
        facts = partial(held_out_facts, given.count)
        print(json.dumps(measure_grid(embed, facts, given.seed, given.false)))
        return 0
    options = MemLLMOptions(
        weights=given.weights, late_stopping=given.late_stopping, setting=given.setting
    )
    if given.what == "read":
        options = replace(options, extraction="rules")  # the write adapter is not needed
    elif given.what in ("write", "fill") and given.weights and _unread(Path(given.weights)):
        options = replace(options, weights=_with_one_adapter(Path(given.weights)))
    system = MemLLMSystem(Shared(lambda: model), options)
    run = {
        "write": measure_writes,
        "fill": fill,
        "read": measure_reads,
        "perplexity": measure_perplexity,
        "editing": measure_editing,
    }[given.what]
    print(json.dumps(run(system, given)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
