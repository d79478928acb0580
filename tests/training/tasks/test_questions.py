"""The questions task: what it writes and asks, equal for equal seeds, and a run of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.settings import make_config, write_texts

from memplus.config import MemoryConfig
from memplus.errors import ConfigError
from memplus.mplus.model import MPlus
from memplus.training.engine.loop import Progress
from memplus.training.tasks import question_texts
from memplus.training.tasks.asked import IGNORED, Kind
from memplus.training.tasks.questions import Questions
from memplus.training.tasks.registry import task_from
from memplus.training.text.runs import TextRun

SPANS = {"drop": "shared", "retrieval": {"kind": "spans", "span_rows": 4, "layer": 1}}
MEMORY = {
    "short_term_tokens": 32,
    "retrieved_tokens": 16,
    "tokens_per_write": 16,
    "chunk_tokens": 16,
    "retriever_dim": 8,
} | SPANS
TASK: dict[str, Any] = {
    "task": "questions",
    "sources": [{"kind": "statements", "weight": 3}, {"kind": "corrections"}],
    "chunks": [2, 4],
    "gradient_writes": 2,
    "asked": 6,
    "untold": 0.2,
    "plain": 0.2,
    "tails": 0.3,
    "tail_tokens": 12,
    "forgets": 0.3,
    "earlier": 0.3,
    "short": 0.3,
    "short_tokens": [4, 12],
}


def config_of(folder: Path, task: dict[str, Any] | None = None, **changes: Any) -> Any:
    write_texts(folder, words=200)
    run = {"stored_rows": 64, "documents": 2, "keeps_rows": False} | changes.pop("run", {})
    memory = MEMORY | changes.pop("memory", {})
    task = TASK | (task or {})
    prompt = {"template": "<q> {question} <a>\n"}
    return make_config(folder, memory=memory, tasks=[task], run=run, prompt=prompt, **changes)


def test_equal_seeds_draw_equal_passes_whatever_the_process(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    one, two = (TextRun(config).workload for _ in range(2))
    for step in range(4):
        first, second = one.draw(step, 0), two.draw(step, 0)
        assert first.chunks.equal(second.chunks)
        assert first.asked is not None
        assert second.asked is not None
        assert first.asked.ids.equal(second.asked.ids)
        assert first.forgets == second.forgets
    assert not one.draw(1, 0).chunks.equal(one.draw(2, 0).chunks[:, :2])


def test_two_tasks_ask_for_what_either_of_them_told(tmp_path: Path) -> None:
    """Each has sources of its own, and the documents' memories hold what all of them told."""
    mix = {"earlier": 0.9, "untold": 0.0, "forgets": 0.0, "short": 0.0, "plain": 0.0}
    base = config_of(tmp_path, mix)
    other = TASK | mix | {"name": "others", "sources": [{"kind": "corrections"}]}
    task = TASK | mix | {"sources": [{"kind": "statements"}]}
    config = replace(base, tasks=tuple(task_from(one) for one in (task, other)))
    workload = TextRun(config).workload
    texts, kinds = workload.texts, set()
    assert [one.kind for one in texts.sources] == ["statements", "corrections"]
    for step in range(24):
        known = [
            [
                (key[0], texts.items(texts.sources[key[0]])[key[1]].questions[one.question])
                for one in texts.before.questions(document)
                for key in (one.key,)
            ]
            for document in range(2)
        ]
        job = workload.draw(step, 0)
        assert job.asked is not None
        for row, kind in enumerate(job.asked.kinds.tolist()):
            if kind == Kind.EARLIER:
                prompt = tuple(job.asked.ids[row][job.asked.prompt[row]].tolist())
                found = {source for source, one in known[row // 6] if one.prompt == prompt}
                assert found
                kinds |= {(job.label, texts.sources[source].kind) for source in found}
        with torch.no_grad():
            workload.module(job)
    assert {("questions", "corrections"), ("others", "statements")} <= kinds


def test_what_is_asked_stands_in_the_rows_that_are_named(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"tails": 0.0, "plain": 0.0, "chunks": 4, "short": 0.0})
    workload = TextRun(config).workload
    for step in range(5):
        job = workload.draw(step, 0)
        asked = job.asked
        assert asked is not None
        text = job.chunks.flatten(1)  # K is the chunk: a row for every token
        for index in range(len(asked.ids)):
            if asked.kinds[index] != Kind.CONTINUED:
                continue
            first, last = asked.rows[index].tolist()
            labels = asked.labels[index]
            own = text[index // TASK["asked"], first : last + 1]
            assert labels[labels != IGNORED].equal(own)


def test_each_share_gives_its_kind(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"untold": 1.0, "continued": 2, "short": 0.0})
    job = TextRun(config).workload.draw(0, 0)
    assert job.asked is not None
    kinds = job.asked.kinds.view(2, -1)
    assert (kinds == Kind.CONTINUED).sum(dim=1).tolist() == [2, 2]
    assert (kinds == Kind.UNTOLD).sum(dim=1).tolist() == [4, 4]
    none = TextRun(config_of(tmp_path, {"untold": 0.0, "chunks": 4, "short": 0.0})).workload
    drawn = [none.draw(step, 0).asked for step in range(3)]
    assert all(not (one.kinds == Kind.UNTOLD).any() for one in drawn if one is not None)


def test_what_earlier_passes_told_is_asked_for_where_it_lies(tmp_path: Path) -> None:
    """A question that names rows of an earlier pass names those that hold its answer."""
    config = config_of(
        tmp_path,
        {"earlier": 1.0, "untold": 0.0, "continued": 0, "short": 0.0, "forgets": 0.0, "tails": 0.0,
         "plain": 0.0},
        memory={"short_term_tokens": 64}, run={"stored_rows": 400},
    )  # fmt: skip
    run = TextRun(config)
    module, written, found = run.workload.module, [[], []], 0
    for step in range(10):
        clock = module.memory.clock
        job = run.workload.draw(step, 0)
        for document, ids in enumerate(job.chunks.flatten(1).tolist()):
            written[document] += ids  # K is the chunk: a row for every token, births from 1 on
        with torch.no_grad():
            _, figures = module(job)
        asked = job.asked
        assert asked is not None
        assert clock == len(written[0]) - job.chunks[0].numel()
        for place in (asked.kinds == Kind.EARLIER).nonzero()[:, 0].tolist():
            first, last = (asked.rows[place] + clock).tolist()
            assert last < clock
            labels = asked.labels[place]
            answer = labels[labels != IGNORED].tolist()[:-1]
            text = run.model.decode(written[place // TASK["asked"]][first : last + 1]).lower()
            assert run.model.decode(answer).strip().lower() in text
            found += 1
        if step:
            assert "seen.earlier" in figures
    assert found > 10


def test_what_a_pass_corrects_is_not_asked_for_by_its_older_value(tmp_path: Path) -> None:
    task = {
        "sources": [{"kind": "corrections"}], "untold": 0.0, "continued": 0, "short": 0.0,
        "earlier": 0.5, "plain": 0.0, "tails": 0.0, "forgets": 0.0, "one_topic": 0.0,
        "chunks": 12, "asked": 40,
    }  # fmt: skip
    config = config_of(tmp_path, task, run={"stored_rows": 1000})
    run = TextRun(config)
    asked_twice = 0
    for step in range(8):
        job = run.workload.draw(step, 0)
        with torch.no_grad():
            run.workload.module(job)
        asked = job.asked
        assert asked is not None
        for document in range(2):
            answers: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
            for place in range(document * 40, document * 40 + 40):
                if asked.kinds[place] not in (Kind.TOLD, Kind.EARLIER):
                    continue
                prompt = tuple(asked.ids[place][asked.prompt[place]].tolist())
                labels = asked.labels[place]
                answers.setdefault(prompt, set()).add(tuple(labels[labels != IGNORED].tolist()))
            assert all(len(one) == 1 for one in answers.values())
            asked_twice += len(answers) > 3
    assert asked_twice > 5


def test_every_passage_is_asked_for_before_one_is_asked_for_twice(tmp_path: Path) -> None:
    """A passage with many questions does not crowd out one that has a single question."""

    def paragraphs(number: int) -> list[dict[str, Any]]:
        names = [f"Q{index}" for index in range(30)] if number % 2 else ["Whom"]
        qas = [{"question": name, "answers": [{"text": "Ann"}]} for name in names]
        return [{"context": f"Ann {number}.", "qas": qas}]

    data = [{"title": f"Title {n}", "paragraphs": paragraphs(n)} for n in range(60)]
    (tmp_path / "squad.json").write_text(json.dumps({"data": data}))
    task = {
        "sources": [{"kind": "squad", "path": str(tmp_path / "squad.json")}],
        "untold": 0.0, "continued": 0, "short": 0.0, "earlier": 0.0, "plain": 0.0, "tails": 0.0,
        "one_topic": 0.0, "chunks": 12, "asked": 6,
    }  # fmt: skip
    workload = TextRun(config_of(tmp_path, task)).workload
    single = workload.texts.spelling.question("Whom")
    asked = [workload.draw(step, 0).asked for step in range(10)]
    rows = [ids.tolist()[: len(single)] for one in asked if one is not None for ids in one.ids]
    assert len(rows) == 120
    assert 40 < sum(ids == single for ids in rows) < 80


def test_a_short_text_is_told_to_an_empty_memory_or_to_the_one_there_is(tmp_path: Path) -> None:
    task = {"short": 1.0, "untold": 0.0, "continued": 0}
    run = TextRun(config_of(tmp_path, task))
    module, ways = run.workload.module, set()
    for step in range(30):
        clock = module.memory.clock
        job = run.workload.draw(step, 0)
        asked = job.asked
        assert asked is not None
        assert len(asked.ids) == 2 * (TASK["asked"] // 3)
        chunks, tokens = job.chunks.shape[1:]
        assert tokens <= 12
        loss, _ = module(job)
        assert torch.isfinite(loss)
        grown = module.memory.clock - clock
        assert grown == (0 if job.aside or not chunks else -(-tokens // 4) * 4)
        if not chunks:
            assert (asked.rows[asked.kinds == Kind.TOLD] == torch.tensor([0, -1])).all()
        ways.add((job.aside, chunks))
    assert ways == {(True, 0), (True, 1), (False, 0), (False, 1)}


def test_short_texts_need_spans(tmp_path: Path) -> None:
    memory = {"retrieval": {"kind": "rows"}, "retrieved_tokens": 0}
    with pytest.raises(ConfigError, match="short"):
        config_of(tmp_path, memory=memory, run={"stored_rows": 0})


def test_the_abstention_is_what_the_prompt_says(tmp_path: Path) -> None:
    run = TextRun(config_of(tmp_path, {"untold": 1.0, "continued": 0}))
    job = run.workload.draw(0, 0)
    assert job.asked is not None
    labels = job.asked.labels[0]
    expected = run.workload.texts.spelling.abstention
    assert labels[labels != IGNORED].tolist() == expected


@pytest.mark.long
@pytest.mark.parametrize("retrieved", [0, 16])
def test_a_run_learns_resumes_to_the_bit_and_ends_with_an_empty_memory(
    tmp_path: Path, retrieved: int
) -> None:
    stored = 64 if retrieved else 0
    memory = {"retrieved_tokens": retrieved}

    def run_of(name: str) -> Any:
        run = {"out": str(tmp_path / name), "steps": 6, "checkpoint": 3, "stored_rows": stored}
        return config_of(tmp_path, memory=memory, run=run)

    def stop(now: Progress) -> None:
        if now.step == 4:
            raise KeyboardInterrupt

    whole = TextRun(run_of("whole")).run()
    with pytest.raises(KeyboardInterrupt):
        TextRun(run_of("parts")).run(stop)
    final = TextRun(run_of("parts"), resume=True).run()
    first, second = (MPlus.from_pretrained(folder) for folder in (whole, final))
    for name, weight in first.named_parameters():
        assert weight.equal(second.get_parameter(name)), name
    assert first.new_memory().short_term_rows == 0
    assert first.prompt.template == "<q> {question} <a>\n"
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert "loss.continued" in json.loads(lines[-1])


@pytest.mark.long
def test_a_run_in_16_bits_learns_beside_weights_in_32(tmp_path: Path) -> None:
    """As on a GPU: the decoder in bfloat16, what is trained in float32, products in 16 bits."""
    model = {"backbone": str(tmp_path / "tiny"), "dtype": "bfloat16", "trainable": "adapters"}
    memory = {"adapters": {"rank": 2, "alpha": 4}}
    memory |= {"retrieval": SPANS["retrieval"] | {"weighs": True}}
    run = {"precision": "bfloat16", "store_on_cpu": False, "steps": 8}
    config = config_of(tmp_path, {"chunks": [2, 4]}, model=model, memory=memory, run=run)
    made = TextRun(config)
    assert made.model.backbone.dtype == torch.bfloat16
    retriever = made.model.weights.layer_retriever(1)
    assert retriever.center is not None
    assert retriever.center.any()
    final = MPlus.from_pretrained(made.run())
    trained = [w for w in made.model.parameters() if w.requires_grad]
    assert {w.dtype for w in trained} == {torch.float32}
    assert isinstance(final.ask(final.new_memory(), "Who?").text, str)


def test_rows_of_spans_that_a_model_comes_with_are_found_by_its_retriever(tmp_path: Path) -> None:
    run = {"keeps_rows": True, "steps": 4}
    final = TextRun(config_of(tmp_path, {"forgets": 0.0, "chunks": 4}, run=run)).run()
    model = MPlus.from_pretrained(final)
    memory = model.new_memory()
    assert memory.short_term_rows == MEMORY["short_term_tokens"]
    assert memory.long_term is not None
    assert memory.long_term_rows == MEMORY["retrieved_tokens"]
    access, retriever = model.backbone.layers[1], model.weights.layer_retriever(1)
    with torch.no_grad():
        expected = retriever.keys(access.norm(model.pristine.long_term[1]))
    assert torch.allclose(memory.long_term.tables[1]["key"], expected, atol=1e-5)
    assert isinstance(model.ask(memory, "Who?").text, str)


@pytest.mark.long
def test_a_run_learns_from_sources_without_end_and_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A token is a byte here.
    monkeypatch.setattr(question_texts, "_LONGEST_PROMPT", 200)
    monkeypatch.setattr(question_texts, "LONGEST_ANSWER", 60)
    task = {
        "sources": [{"kind": "facts", "weight": 2}, {"kind": "notes"}, {"kind": "corrections"}],
        "one_topic": 0.5, "chunks": [16, 20], "short": 0.0, "forgets": 0.0,
    }  # fmt: skip

    def run_of(name: str) -> Any:
        run = {"out": str(tmp_path / name), "steps": 4, "checkpoint": 2}
        return config_of(tmp_path, task, run=run)

    def stop(now: Progress) -> None:
        if now.step == 3:
            raise KeyboardInterrupt

    whole = TextRun(run_of("whole")).run()
    with pytest.raises(KeyboardInterrupt):
        TextRun(run_of("parts")).run(stop)
    final = TextRun(run_of("parts"), resume=True).run()
    first, second = (MPlus.from_pretrained(folder) for folder in (whole, final))
    for name, weight in first.named_parameters():
        assert weight.equal(second.get_parameter(name)), name
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["loss.answers"] > 0


def test_the_loss_of_a_pass_falls(tmp_path: Path) -> None:
    """Gradients reach what writes and what reads."""
    config = config_of(
        tmp_path, {"chunks": 2, "tails": 0.0, "forgets": 1.0, "short": 0.0},
        memory={"retrieved_tokens": 0}, run={"stored_rows": 0},
    )  # fmt: skip
    run = TextRun(config)
    job = run.workload.draw(0, 0)
    weights = [w for w in run.model.parameters() if w.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-2)
    losses = []
    for _ in range(8):
        loss, _ = run.workload.module(job)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    embedding = run.model.weights.memory_embedding
    assert embedding.grad is not None
    assert float(embedding.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("untold", 1.5), ("one_topic", -0.1), ("plain", 1.0), ("asked", 0), ("continued", 7),
        ("tail_tokens", 0), ("sources", []), ("forgets", 2),
        ("earlier", -1), ("short", 1.1), ("short_tokens", 1), ("full_pool", 0.5),
    ],
)  # fmt: skip
def test_fields_are_checked(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        task_from(TASK | {field: value})
    assert caught.value.fields["field"] == field


def test_what_a_run_needs_is_reckoned_of_passes_that_there_are() -> None:
    memory = MemoryConfig.from_dict(MEMORY)
    mix = {"asked": 6, "tails": 0.5, "tail_tokens": 10, "short": 0.5, "short_tokens": [2, 40]}
    task = task_from(TASK | mix)
    usual, short = task.passes(memory)
    assert (usual.reads, short.reads) == (6, 2)
    assert short.target_tokens - usual.target_tokens == 30
    assert short.chunks == 1
    assert usual.scored is not None
    assert usual.scored < usual.target_tokens
    assert task.largest(memory).target_tokens == short.target_tokens
    assert task.largest(memory).reads == 6
    assert len(task_from(TASK | mix | {"short": 0.0}).passes(memory)) == 1


def test_a_chunk_makes_no_more_rows_than_it_has_tokens() -> None:
    task = task_from(TASK | {"chunk_tokens": 8})
    assert isinstance(task, Questions)
    with pytest.raises(ConfigError, match="chunk_tokens"):
        task.check(MemoryConfig.from_dict(MEMORY))
    replace(task, chunk_tokens=None).check(MemoryConfig.from_dict(MEMORY))


def test_the_retriever_can_learn_alone(tmp_path: Path) -> None:
    config = config_of(
        tmp_path, {"answered": False, "gradient_writes": 0, "chunks": 4, "short": 0.0}
    )
    run = TextRun(config)
    names = {n: w.detach().clone() for n, w in run.model.named_parameters()}
    for step in range(3):
        loss, figures = run.workload.module(run.workload.draw(step, 0))
        loss.backward()
    assert "retriever" in figures
    moved = {n for n, w in run.model.named_parameters() if w.grad is not None and w.grad.any()}
    assert moved
    assert all("retriever" in name or "layernorm" in name for name in moved)
    assert set(names) > moved
    with pytest.raises(ConfigError, match="answered"):
        config_of(tmp_path, {"answered": False, "short": 0.0}, memory={"retrieved_tokens": 0},
                  run={"stored_rows": 0})  # fmt: skip
