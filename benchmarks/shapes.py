"""Model shapes that are measured, built with random weights: nothing is downloaded.

A shape is a stock Llama config and the sizes of a memory. Speed does not depend on what weights
say, so random ones serve; rows of the memory are random vectors put through the model's own
projections, as the rows of a checkpoint are.

Shapes: L layers, N short-term rows, n stored rows, d hidden size, R retriever width.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from memplus import MemoryConfig, MPlus
from memplus.passes.pristine import Pristine

__all__ = [
    "DTYPES",
    "SHAPES",
    "Shape",
    "add_device",
    "build",
    "is_there",
    "now",
    "on_gpu",
    "systems_parser",
]

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
"""By the names that the commands have for them."""


@dataclass(frozen=True)
class Shape:
    """What is built and how long its texts are."""

    model: LlamaConfig
    memory: MemoryConfig
    stored_rows: int
    """Rows per layer in the long-term memory to start with."""
    prompt_tokens: int = 32
    dtype: torch.dtype = torch.float32
    device: str = "cpu"


SHAPES: dict[str, Shape] = {
    "tiny": Shape(
        LlamaConfig(
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=2,
            vocab_size=128,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        ),
        MemoryConfig(
            short_term_tokens=64,
            retrieved_tokens=16,
            tokens_per_write=8,
            chunk_tokens=16,
            retriever_dim=8,
        ),
        stored_rows=96,
        prompt_tokens=6,
    ),
    "smollm2-135m": Shape(
        LlamaConfig(
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            vocab_size=49152,
            max_position_embeddings=16384,
            tie_word_embeddings=True,
        ),
        MemoryConfig(),
        stored_rows=15_360,
    ),
    "llama-3.1-8b": Shape(
        LlamaConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128_256,
            max_position_embeddings=131_072,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        ),
        MemoryConfig(),
        stored_rows=15_360,
        dtype=torch.bfloat16,
        device="cuda",
    ),
}


def add_device(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark the option ``--device``, as the command has it."""
    parser.add_argument(
        "--device",
        default=os.environ.get("MEMPLUS_DEVICE") or None,
        help="cpu or cuda, also as MEMPLUS_DEVICE; the processor, or the shape's own, by default",
    )


def systems_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of a benchmark that asks systems over one model."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="float32")
    add_device(parser)
    parser.add_argument("--system", default="mplus", help="names with options, by commas")
    return parser


def on_gpu(device: str) -> bool:
    """Whether a device, by its name, is a CUDA GPU."""
    return torch.device(device).type == "cuda"


def is_there(device: str) -> bool:
    """Whether this machine has a device."""
    return not on_gpu(device) or torch.cuda.is_available()


def now(device: str) -> float:
    """Seconds, to be subtracted: of the process, or on a GPU until its queue is empty."""
    if not on_gpu(device):
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def build(shape: Shape, seed: int = 0) -> MPlus:
    """The shape with random weights and a full pool and store for every new memory."""
    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(shape.dtype)
    try:
        with torch.device(shape.device):
            model = LlamaForCausalLM(shape.model).eval()
    finally:
        torch.set_default_dtype(default)
    made = MPlus.from_backbone(model, shape.memory)
    made.pristine = _random_rows(shape)
    return made


def _random_rows(shape: Shape) -> Pristine:
    """Vectors of unit variance for the pool and the store, and keys for the store."""
    layers, width = shape.model.num_hidden_layers, shape.model.hidden_size
    stored, keys = shape.stored_rows, shape.memory.retriever_dim

    def rows(*size: int) -> Tensor:
        return torch.randn(*size, dtype=shape.dtype, device=shape.device)

    return Pristine(
        short_term=rows(layers, shape.memory.short_term_tokens, width),
        long_term=[rows(stored, width) for _ in range(layers)],
        keys=[rows(stored, keys) for _ in range(layers)],
        long_term_ages=[torch.arange(stored, 0, -1) for _ in range(layers)],
    )
