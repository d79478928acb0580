"""Why a memory does not belong to a model: only what helps is said, and how to open it."""

import torch

from memplus.memory.mismatch import mismatch, written_dtype

SINGLE, HALF = torch.float32, torch.bfloat16


def test_another_dtype_is_named_instead_of_the_weights_that_follow_from_it() -> None:
    error = mismatch(["memory weights", "weights"], dtypes=(SINGLE, HALF))
    assert error.message.endswith("it was written in float32, and this model is in bfloat16.")
    assert "`--dtype float32`" in error.hint


def test_a_config_differs_by_itself_whatever_the_dtype() -> None:
    error = mismatch(["chunk_tokens"], dtypes=(SINGLE, HALF), models=("a", "a"), sizes=True)
    assert "chunk_tokens differ(s)" in error.message
    assert "dtype" not in str(error)


def test_another_model_is_named_and_not_what_it_consists_of() -> None:
    error = mismatch(["chunk_tokens"], dtypes=(HALF, HALF), models=("a b", "c"), sizes=True)
    assert (
        error.message == "This memory does not belong to this model: a b wrote it, and this is c."
    )
    assert "`--model 'a b'`" in error.hint
    assert "dtype" not in error.hint


def test_another_model_of_the_same_sizes_is_told_with_what_differs() -> None:
    error = mismatch(["tokenizer"], dtypes=(None, HALF), models=("a", "c"))
    assert error.message.endswith("a wrote it, and this is c; tokenizer differ(s).")


def test_another_model_in_another_dtype_is_told_with_both() -> None:
    error = mismatch(["chunk_tokens"], dtypes=(HALF, SINGLE), models=("a", "c"), sizes=True)
    assert error.message.endswith("a wrote it in bfloat16, and this is c in float32.")
    assert "`--model a --dtype bfloat16`" in error.hint
    assert '`MPlus.from_pretrained("a"), dtype="bfloat16"`' not in error.hint
    assert '`MPlus.from_pretrained("a", dtype="bfloat16")`' in error.hint


def test_only_a_pool_tells_the_dtype() -> None:
    assert written_dtype({"position": torch.int64, "k": HALF, "v": HALF}) == HALF
    assert written_dtype({"position": torch.int64, "hidden": SINGLE}) == SINGLE
    assert written_dtype({}) is None
