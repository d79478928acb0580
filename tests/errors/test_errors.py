import pickle
import string
from pathlib import Path

import pytest

from memplus import errors
from memplus.errors import MemplusError

SAMPLES: list[MemplusError] = [
    MemplusError("it broke"),
    errors.UsageError("no such thing"),
    errors.ConfigError("chunk_tokens", value=0, reason="it must be at least 1"),
    errors.NotFoundError("notes.txt"),
    errors.NotCachedError("smollm2", path="/home/ann/.cache/memplus/bases"),
    errors.ConfigFileError("a.yaml", "run.steps", value=0, reason="at least 1"),
    errors.EmptyTextError("The question"),
    errors.LibraryMissingError("bm25s", extra="bm25"),
    errors.BenchmarkFileError("a.json", benchmark="LoCoMo", reason="it is empty"),
    errors.MissingDataError("data/x.zip", what="tasks", licence="MIT"),
    errors.NotTextError(Path("a/b.bin"), offset=7),
    errors.DocumentFormatError("a/b.pdf", kind="a PDF document"),
    errors.BrokenTextError("The question", offset=3, code="U+DCE9"),
    errors.SourceChangedError("notes.txt", held=12),
    errors.ChatTemplateError("models/x", reason="roles must alternate"),
    errors.QuestionSetError("squad.csv"),
    errors.PositionsError(needed=300, available=12),
    errors.MemorySizeError(needed=12_802, available=4096),
    errors.BudgetError(needed=2_000, given=1_000),
    errors.StaleCacheError(reason="it is older than the last write"),
    errors.TailError(waiting=5),
    errors.UnknownSourceError("b.txt", known=["a.txt"]),
    errors.NotARunError("runs/a", reason="it holds no metrics.jsonl"),
    errors.RunMismatchError("runs/a/answers.jsonl", differs="model, seeds"),
    errors.ModelError("no"),
    errors.UnknownModelError("nanno"),
    errors.UnknownModelError("a/b", reason="the hub did not give it: no answer.", hub=True),
    errors.UnknownBaseError("a", reason="those that can be fetched are b"),
    errors.MissingWeightsDirectory("models/empty"),
    errors.NotADecoderError("t5", reason="it has an encoder"),
    errors.UnsupportedModelError("memoryllm-7b", reason="it follows other position rules"),
    errors.WeightsError("models/x", missing=["a.weight"], unexpected=["b"], misshapen={"c": "4"}),
    errors.BaseUnavailableError("a", file="a.gguf (1 MB)", reasons=["no hub", "no pip"]),
    errors.BaseDigestError("a", where="b.gguf", found=("0f", 12), expected=("1e", 13)),
    errors.BaseFileError("a", path="b.whl", reason="it is a damaged archive"),
    errors.BasePartsError("a", parts=6, missing=[2, 5]),
    errors.UntrainedBaseError("a", state="not fetched yet"),
    errors.BundleError("no"),
    errors.BundleBaseMissingError("b", base="smollm2", reason="there is no directory /a"),
    errors.BundleBaseError("b", base="/a", part="SHA-256 of its weights", found="0", expected="1"),
    errors.BundleAdaptersError("b", differs="rank 8 in its config, 4 in the file"),
    errors.NestedBundleError("b", own="smollm2"),
    errors.NoBaseError("LlamaForCausalLM"),
    errors.BaseChangedError("/a", differs="lm_head.weight differs"),
    errors.TokenizerMissingError("models/x"),
    errors.SystemWeightsError("ret_llm", reason="a is not there", commands=["memplus train"]),
    errors.SelfTestError("models/x", detail="oracle differs by 1.0"),
    errors.MemoryMismatchError(differs="weights"),
    errors.MemoryMismatchError(models=("a", "b"), dtypes=("float32", "bfloat16")),
    errors.SessionMismatchError("s.session", system="bm25", reason="scm saved it"),
    errors.MemoryFileError("m.mem", reason="it is a picture"),
    errors.NotAMemoryError("book.txt", reason="it seems to be a text"),
    errors.NotAStoreError("books", reason="it holds other files"),
    errors.NotAnExportError("a.memory", reason="File is not a zip file"),
    errors.CorruptMemoryError("m.mem", reason="truncated at byte 12"),
    errors.MemoryVersionError("m.mem", found=9, supported=1),
    errors.BenchmarkFailedError("sort/bm25", count=2, first="sort/bm25: OSError: full"),
    errors.DamagedRunError("runs/a/answers.jsonl", line=12),
    errors.StorageError("m.mem", reason="no space left on device"),
    errors.StreamError("Standard output", OSError(28, "No space left on device")),
    errors.TrainingError("there is no checkpoint"),
    errors.TrainingStartError("one process is too few"),
    errors.NotFiniteResultError("confidence"),
    errors.NotFiniteError("the loss", task="completion", step=7),
    errors.TrainingBudgetError(needed=3.5, given=2.0, parts="weights 3.5"),
    errors.UnknownMemoryError("alice", store="memories"),
    errors.MemoryExistsError("alice", store="memories"),
    errors.KeyExistsError("phone"),
    errors.ReadOnlyMemoryError("alice", reason="it was opened for reading"),
    errors.ClosedMemoryError("alice"),
    errors.HistoryError(7, kept="0, 4, 9"),
    errors.MemoryBusyError("alice"),
    errors.LeaseLostError("alice"),
    errors.MemoryChangedError("a.memory"),
    errors.OverloadedError(reason="64 requests wait", retry_after=3),
    errors.ShuttingDownError(),
    errors.PassFailedError(reason="out of memory"),
]


def names_of(error: MemplusError) -> str:
    return type(error).__name__


def test_every_class_has_a_sample() -> None:
    assert {names_of(error) for error in SAMPLES} == set(errors.__all__)


@pytest.mark.parametrize("error", SAMPLES, ids=names_of)
def test_message_holds_every_field_of_the_template(error: MemplusError) -> None:
    for _, field, _, _ in string.Formatter().parse(error.template):
        if field is not None and field != "detail":
            assert str(error.fields[field]) in error.message


@pytest.mark.parametrize("error", SAMPLES, ids=names_of)
def test_hint_follows_the_message(error: MemplusError) -> None:
    expected = f"{error.message}\n{error.hint}" if error.hint else error.message
    assert str(error) == expected


@pytest.mark.parametrize("error", [e for e in SAMPLES if "message" not in e.fields], ids=names_of)
def test_every_specific_error_says_what_to_do(error: MemplusError) -> None:
    assert error.hint.endswith(".")


@pytest.mark.parametrize("error", SAMPLES, ids=names_of)
def test_survives_pickling(error: MemplusError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.fields == error.fields
    assert str(copy) == str(error)


def drawn_codes() -> dict[str, int]:
    """Class -> exit code, read off the tree in the module's docstring."""
    codes: dict[str, int] = {}
    at_depth: dict[int, int] = {}
    for line in (errors.__doc__ or "").splitlines():
        bare = line.lstrip(" |`-")
        words = bare.split()
        if not words or words[0] not in errors.__all__:
            continue
        depth = (len(line) - len(bare)) // 4
        own = len(words) > 1 and words[1].isdigit()
        at_depth[depth] = int(words[1]) if own else at_depth[depth - 1]
        codes[words[0]] = at_depth[depth]
    return codes


def test_exit_codes_are_those_drawn() -> None:
    assert drawn_codes() == {name: getattr(errors, name).exit_code for name in errors.__all__}


def test_a_reason_that_is_a_sentence_leaves_one_full_stop() -> None:
    told = errors.UnknownModelError("a/b", reason="It is not there.").message
    assert told.endswith("It is not there.")
    assert errors.NotFoundError("..", kind="folder").message.endswith("folder ...")


def test_weights_error_names_each_fault_and_counts_the_rest() -> None:
    missing = [f"layer.{i:02d}" for i in range(12)]
    error = errors.WeightsError("dir", missing=missing, misshapen={"embed": "expected [2]"})
    assert "12 missing: layer.00" in error.message
    assert "layer.07 and 4 more" in error.message
    assert "layer.08" not in error.message
    assert "1 misshapen: embed (expected [2])" in error.message
    assert "unexpected" not in error.message
    assert error.fields["missing"] == tuple(missing)
