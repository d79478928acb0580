"""The real smollm2, from its GGUF file to an answer.

Runs where the model is in the cache, or one of its sources can be reached: then it is fetched once,
into the user's cache. Otherwise these tests are skipped and say why.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from memplus import Memory, MemoryConfig, MPlus
from memplus.backbone.processor import bfloat16_unit
from memplus.backbone.stock import load_stock
from memplus.config import AdapterConfig, PromptConfig
from memplus.data.statements import HELD_OUT_TOPICS, read_statements
from memplus.errors import BaseUnavailableError, StorageError, UntrainedBaseError
from memplus.evaluation.engine.judging import Judge
from memplus.mplus.base_cache import CachedBase, cached_base, pull
from memplus.mplus.base_files import assemble
from memplus.mplus.base_progress import QUIET
from memplus.mplus.base_sources import SOURCES, Unavailable
from memplus.mplus.bases import find_base
from memplus.mplus.bundled import bundle_for
from memplus.mplus.doctor import require_healthy
from memplus.sessions.conversation import Conversation
from memplus.store import MemoryStore
from memplus.training.tasks.pristine_rows import opening_rows

BASE = find_base("smollm2")
SIZES = MemoryConfig(
    short_term_tokens=256, retrieved_tokens=128, tokens_per_write=64, chunk_tokens=128
)
TURN = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
TEXT = (
    "The ferry to the island leaves at nine from the old harbour, except on Sundays, when it "
    "leaves at ten. Tickets are sold on board, and dogs travel free of charge. "
)


@pytest.fixture(scope="module")
def real() -> CachedBase:
    """The model in the cache; with it ``from_backbone`` needs no network."""
    try:
        return pull(BASE)
    except (BaseUnavailableError, StorageError) as error:
        pytest.skip(f"smollm2 is not to be had here: {error.message}")


def next_logits(model: MPlus, memory: Memory) -> torch.Tensor:
    """Of the token after a question, [V]."""
    with torch.no_grad():
        ids = torch.tensor([model.asker.encode("When does the ferry leave?")])
        logits: torch.Tensor = model(ids, memory=memory).logits[0, -1]
    return logits


@pytest.fixture(scope="module")
def ferry(model: MPlus) -> Memory:
    """A memory that was told about the ferry; nobody writes to it."""
    memory = model.new_memory(seed=1)
    model.write(memory, TEXT * 4, source="ferry.txt", flush=True)
    return memory


@pytest.fixture(scope="module")
def model(real: CachedBase) -> MPlus:
    """The model in the dtype that suits the processor, with a new memory."""
    torch.manual_seed(0)
    return MPlus.from_backbone("smollm2", SIZES, local_files_only=True).eval()


def test_it_is_in_the_cache_and_listed_there(real: CachedBase) -> None:
    assert cached_base(BASE) == real
    assert real.sha256 == BASE.sha256
    assert abs(real.nbytes - BASE.converted_bytes) < 10_000_000


@pytest.mark.long
def test_its_name_loads_the_bundle_that_comes_with_it_or_says_that_none_does(
    real: CachedBase,
) -> None:
    if bundle_for("smollm2") is None:
        with pytest.raises(UntrainedBaseError, match=r"it lies in .*smollm2"):
            MPlus.from_pretrained("smollm2")
    else:
        require_healthy(MPlus.from_pretrained("smollm2", dtype="float32", local_files_only=True))


def test_adapters_of_rank_8_over_it_are_a_bundle_below_20_mb(
    real: CachedBase, tmp_path: Path
) -> None:
    sizes = replace(SIZES, adapters=AdapterConfig(rank=8), retriever_layers=1)
    given: Any = {"dtype": "bfloat16", "local_files_only": True}
    made = MPlus.from_backbone("smollm2", sizes, **given).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
    made.save_pretrained(tmp_path, base="reference")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 20_000_000
    loaded = MPlus.from_pretrained(tmp_path, **given)
    memory, other = made.new_memory(), loaded.new_memory()
    made.write(memory, TEXT * 2)
    loaded.write(other, TEXT * 2)
    ids = torch.tensor([made.encode("When does the ferry leave?")])
    assert loaded.fingerprint == made.fingerprint
    assert torch.equal(loaded(ids, memory=other).logits, made(ids, memory=memory).logits)


def test_every_check_of_doctor_passes(model: MPlus) -> None:
    require_healthy(model)
    assert model.model.num_parameters() == BASE.parameters


@pytest.mark.long
def test_its_dtype_is_the_processors_and_that_of_a_bundle_over_it_too(
    model: MPlus, tmp_path: Path
) -> None:
    suits = torch.float32 if bfloat16_unit() is None else torch.bfloat16
    assert model.backbone.dtype == suits
    model.save_pretrained(tmp_path / "bundle", base="reference")
    assert MPlus.from_pretrained(tmp_path / "bundle").backbone.dtype == suits
    other = MPlus.from_pretrained(tmp_path / "bundle", dtype="float32")
    assert other.backbone.dtype == torch.float32


def test_its_chat_template_begins_a_turn_and_has_no_other_first_token(model: MPlus) -> None:
    tokenizer: Any = model.tokenizer
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    ids = tokenizer(text, return_tensors="pt").input_ids
    answer = model.generate(ids, max_new_tokens=8)[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


def test_it_writes_reads_and_answers(model: MPlus) -> None:
    memory = model.new_memory(seed=1)
    for _ in range(6):  # more than the short-term memory holds
        model.write(memory, TEXT, source="ferry.txt", flush=True)
    assert len(memory.long_term) > 0
    # What it says is worth nothing before its memory is trained; where it looked is known.
    answer = model.ask(memory, "When does the ferry leave?", max_new_tokens=8)
    assert answer.text == model.ask(memory, "When does the ferry leave?", max_new_tokens=8).text
    assert {one.source for one in answer.evidence} == {"ferry.txt"}
    ids = torch.arange(100, 120)
    assert not torch.equal(model(ids, memory=memory).logits, model(ids).logits)


def test_a_batch_reads_as_each_question_alone(model: MPlus, ferry: Memory) -> None:
    questions = ["When does the ferry leave on Sundays?", "Are dogs charged?"]
    prompts = [model.asker.encode(question) for question in questions]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
    with torch.no_grad():
        together = model(ids, memory=ferry, attention_mask=mask).logits[:, -1].float()
        alone = [model(torch.tensor([one]), memory=ferry).logits[0, -1].float() for one in prompts]
    for row, logits in zip(together, alone, strict=True):
        assert (row - logits).std() < 0.02 * logits.std()
    assert (together[0] - together[1]).std() > 0.1 * together[0].std()


def test_a_fork_goes_its_own_way(model: MPlus, ferry: Memory) -> None:
    before = next_logits(model, ferry)
    twin = ferry.fork()
    assert torch.equal(next_logits(model, twin), before)
    model.write(twin, "The ferry is cancelled today. " * 8, source="notice.txt", flush=True)
    assert not torch.equal(next_logits(model, twin), before)
    assert torch.equal(next_logits(model, ferry), before)


def test_a_memory_in_a_store_reads_the_same_when_it_is_opened_again(
    model: MPlus, tmp_path: Path
) -> None:
    with MemoryStore(tmp_path / "store").create("ana", model, seed=1) as memory:
        model.write(memory, TEXT * 4, source="ferry.txt")
        waiting, before = list(memory.tail), next_logits(model, memory)
    assert waiting
    with MemoryStore.existing(tmp_path / "store").open("ana", model) as again:
        assert again.tail == waiting
        assert torch.equal(next_logits(model, again), before)


def test_a_conversation_is_laid_out_by_its_chat_template_with_no_token_cut_and_kept(
    model: MPlus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    generate = model.generate

    def watched(ids: torch.Tensor, **options: Any) -> Any:
        seen.append(model.decode(ids[0].tolist()))
        return generate(ids, **options)

    monkeypatch.setattr(model, "generate", watched)
    store = MemoryStore(tmp_path / "store")
    for prompt, first in (
        (
            replace(model.prompt, max_new_tokens=6),
            "<|im_start|>system\n",
        ),  # a memory of another prompt
        (PromptConfig(template=TURN, max_new_tokens=6), "<|im_start|>user\nWhere"),
    ):
        monkeypatch.setattr(model, "prompt", prompt)
        with store.open_or_create("ana", model) as memory:
            talk, pieces = Conversation(model, memory), list[str]()
            reply = talk.say("Where does Ines live?", stream=pieces.append).reply
            assert "".join(pieces).strip() == reply
            talk.close()
        assert seen.pop().startswith(first)
    with store.open("ana", model) as memory:
        assert model.decode(memory.tail).count("User: Where does Ines live?") == 2


def test_the_bundle_that_comes_with_it_answers_what_it_was_told(real: CachedBase) -> None:
    assert bundle_for("smollm2") is not None
    trained = MPlus.from_pretrained("smollm2", local_files_only=True).eval()
    told = read_statements(HELD_OUT_TOPICS)[::12]
    memory, apart = trained.new_memory(), trained.new_memory()
    for number, one in enumerate(told):
        trained.write(memory, f" {one.text}", source="told")
        trained.write(apart, one.text, source=f"told {number}", flush=True)
    asked = [one.questions[0] for one in told]
    judge = Judge("contains")

    def right(memory: Memory) -> int:
        answers = trained.ask(memory, [one.question for one in asked], min_confidence=0.0)
        return sum(judge.right(str(a), one.answers) for a, one in zip(answers, asked, strict=True))

    assert right(memory) >= len(told) / 2
    assert right(apart) >= len(told) / 2  # each compressed by itself: they do not fill one chunk
    assert right(trained.new_memory()) <= 1


LIGHTHOUSE = (
    "The lighthouse on Skerry Point was built in 1871 by the engineer Tomas Reed, after three "
    "ships had run aground in one winter. Its lamp burned rapeseed oil until 1904, when paraffin "
    "replaced it, and the tower was painted white so that crews could make it out by day. It "
    "stands 38 metres high. The last keeper left in 1986, and since then a light that needs no one "
    "has taken his place."
)


@pytest.mark.long
def test_its_memories_begin_with_an_opening_and_answer_about_one_passage_alone(
    real: CachedBase,
) -> None:
    trained = MPlus.from_pretrained("smollm2", local_files_only=True, dtype="float32").eval()
    text = (Path(__file__).parents[2] / "configs" / "opening.txt").read_text().strip()
    shipped, made = trained.pristine.short_term, opening_rows(trained, text).short_term
    assert shipped is not None
    assert made is not None
    torch.testing.assert_close(shipped, made.to(shipped), rtol=0.01, atol=0.02)
    keys = {
        "Who built the lighthouse on Skerry Point?": "Reed",
        "When was the lighthouse built?": "1871",
        "How high is the lighthouse?": "38",
        "How high is the tower?": "38",
        "What colour is the tower?": "white",
    }
    memory = trained.new_memory()
    trained.write(memory, LIGHTHOUSE, source="guide", flush=True)
    answers = trained.ask(memory, list(keys))
    assert sum(key in str(one) for key, one in zip(keys.values(), answers, strict=True)) >= 4


@pytest.mark.slow
def test_weights_and_logits_are_those_of_the_librarys_own_reading(
    real: CachedBase, tmp_path: Path
) -> None:
    path = tmp_path / "gguf" / BASE.file
    path.parent.mkdir()
    reasons: list[str] = []
    for source in SOURCES:
        try:
            assemble(BASE, source(BASE, tmp_path, QUIET), path, QUIET)
            break
        except Unavailable as reason:
            reasons.append(str(reason))
    if not path.is_file():
        pytest.skip(f"its GGUF file is not to be had here: {'; '.join(reasons)}")
    stock: Any = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    ours: Any = load_stock(real.path, None)
    for name, weight in stock.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight.to(torch.bfloat16)), name
    ids = torch.randint(0, 49_152, (1, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = stock(ids).logits
        difference = ours.float()(ids).logits - theirs
    assert difference.std() < 0.05 * theirs.std()
