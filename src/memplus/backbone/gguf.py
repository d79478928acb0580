"""A GGUF file made into a directory of a stock decoder: weights, config and tokenizer.

Quantised weights are unpacked once and kept in bfloat16, which rounds away less than the
quantisation did. Nothing of the file is run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging, quantization_config

from memplus.backbone.stock import refusals
from memplus.errors import UnsupportedModelError, WeightsError

__all__ = ["convert"]


def convert(path: Path, folder: Path, *, parameters: int) -> None:
    """Unpack a GGUF file into ``folder``, as ``load_stock`` and ``load_tokenizer`` read it.

    Head and embedding stay one weight only where the file holds one: where it holds two, they were
    quantised apart and differ.

    Args:
        path: a file whose name ends in ``.gguf``, alone in its folder.
        folder: is made.
        parameters: weights that must come out.

    Raises:
        UnsupportedModelError: the library cannot read it, or reads another number of weights.
        WeightsError: weights are missing or left over.
        OSError: the disk refused.
    """
    given: dict[str, Any] = {
        "gguf_file": path.name,
        "local_files_only": True,
        "trust_remote_code": False,
    }
    with _quiet(), refusals(path, "the model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.bfloat16, output_loading_info=True, **_unpacked(), **given
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **given)
    model, report = loaded
    if report["missing_keys"] or report["unexpected_keys"]:
        raise WeightsError(
            path, missing=list(report["missing_keys"]), unexpected=list(report["unexpected_keys"])
        )
    found = sum(weight.numel() for weight in model.parameters())
    if found != parameters:
        reason = f"{found:,} weights were read from it, and it holds {parameters:,}"
        raise UnsupportedModelError(str(path), reason=reason)
    _forget_quantization(model)
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _unpacked() -> dict[str, Any]:
    """Versions of the library that can compute on packed weights are told to unpack them."""
    kind = getattr(quantization_config, "GgufConfig", None)
    return {} if kind is None else {"quantization_config": kind(dequantize=True)}


def _forget_quantization(model: Any) -> None:
    """Plain weights by now; the library saves no model that says otherwise."""
    model.hf_quantizer = None
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars: the caller has its own."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
