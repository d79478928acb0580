"""kvpress on the plan: the whole text in the context, whose keys and values are then thinned out.

    python benchmarks/peers/run_kvpress.py runs/peers/plan.jsonl --out runs/peers/

The stock weights that the plan names, in the package's own pipeline: the text goes through the
model under a press, and every question is put to what it left. All presses keep the same share of
keys and values, so the same bytes. KVzip chooses single heads' pairs and masks them: its bytes are
those of the pairs it kept, while the pairs themselves stay in memory in this implementation.

Nothing is kept on disk, so there is nothing to kill: a process that ends has forgotten all.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from environment import enter
from lines import Writer, read_plan

PRESSES = {
    "none": None,
    "knorm": "KnormPress",
    "expected_attention": "ExpectedAttentionPress",
    "kvzip": "KVzipPress",
}


def main() -> None:
    """Run one press after the other and say where the results are."""
    given = _arguments()
    enter("kvpress")
    plan = read_plan(given.plan)
    weights = given.weights or plan.header["weights"]
    if not weights or not Path(weights).is_dir():
        sys.exit(f"there are no weights at {weights}; `memplus pull smollm2` makes them")
    pipe = _pipeline(str(weights))
    for name in given.presses:
        kept = 1.0 if name == "none" else given.kept
        share = "" if name == "none" else f", {kept:.0%} kept"
        out = given.out / f"kvpress-{name}.jsonl"
        writer = Writer(
            out,
            plan,
            system=f"kvpress {name}{share}",
            by=f"kvpress {version('kvpress')}, transformers {version('transformers')}",
            settings={"press": name, "kept": kept, "dtype": "float32"},
        )
        _told_and_asked(pipe, _press(name, kept), plan, writer, given.tokens)
        print(out, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), help="a folder")
    parser.add_argument("--presses", nargs="*", choices=PRESSES, default=list(PRESSES))
    parser.add_argument("--kept", type=float, default=0.25, help="share of keys and values")
    parser.add_argument("--tokens", type=int, default=24, help="most tokens of an answer")
    parser.add_argument("--weights", type=Path, help="a folder; what the plan names by default")
    return parser.parse_args()


def _pipeline(weights: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    import kvpress  # noqa: F401  the pipeline is known once it is imported

    logging.disable(logging.WARNING)
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(weights)
    return pipeline("kv-press-text-generation", model=model, tokenizer=tokenizer, device="cpu")


def _press(name: str, kept: float) -> Any:
    import kvpress

    kind = PRESSES[name]
    return None if kind is None else getattr(kvpress, kind)(compression_ratio=1 - kept)


def _told_and_asked(pipe: Any, press: Any, plan: Any, writer: Writer, longest: int) -> None:
    """Read the text so far anew for each asking, and put the questions to what is left of it."""
    from transformers import DynamicCache

    text, writes, seconds, size = "", 0, 0.0, 0
    for pieces, questions in plan.steps:
        text += "".join(pieces)
        asked = [f"\n\n{one['question']}" for one in questions]
        given = pipe.preprocess(text.strip(), asked, "", pipe.tokenizer.model_max_length)
        cache, length = DynamicCache(), given["context_ids"].shape[1]
        started = time.perf_counter()
        with press(pipe.model) if press is not None else contextlib.nullcontext():
            pipe.model.model(input_ids=given["context_ids"], past_key_values=cache)
        seconds += time.perf_counter() - started
        writes += 1
        size = _kept_bytes(pipe.model, cache)
        kept = [layer.keys.shape[2] for layer in cache.layers]
        for one, ids in zip(questions, given["questions_ids"], strict=True):
            started = time.perf_counter()
            said = pipe.generate_answer(ids, cache, length, longest)
            writer.asked(one["key"], time.perf_counter() - started, said=said)
            _cut_back(cache, kept)
    tokens = plan.header["tokens"]
    writer.end(writes=writes, tokens=tokens, write_seconds=seconds, nbytes=size)


def _cut_back(cache: Any, kept: list[int]) -> None:
    """Take a question and its answer out of the cache again."""
    for layer, length in zip(cache.layers, kept, strict=True):
        layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]


def _kept_bytes(model: Any, cache: Any) -> int:
    """Of keys and values that are still attended to."""
    size = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    return int(size - sum(_masked_bytes(model, cache)))


def _masked_bytes(model: Any, cache: Any) -> Iterator[int]:
    for layer, kept in zip(model.model.layers, cache.layers, strict=True):
        masked = getattr(layer.self_attn, "masked_key_indices", None)
        if masked is not None:
            width = kept.keys.shape[-1] * kept.keys.element_size()
            yield 2 * len(masked[0]) * width


if __name__ == "__main__":
    main()
