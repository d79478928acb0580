"""Which small models the library is compared on: each edge by name, and a mixture by seed."""

from __future__ import annotations

import random

from tests.reference.checkpoints import Shape

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "factor": 1.8125}

MPLUS = {
    "everything": Shape(),
    "no bos": Shape(bos=False),
    "no adapters": Shape(lora=0),
    "one adapter": Shape(decoder_lora=False),
    "one linear retriever": Shape(selector_layers=1),
    "linear rope": Shape(rope_scaling=LINEAR),
    "llama3 rope": Shape(rope_scaling=LLAMA3),
    "store shorter than M": Shape(ltm_rows=3, merge_every=3),
    "empty store": Shape(ltm_rows=0),
    "equal ages": Shape(ltm_ages=1),
    "merged at once, gone soon": Shape(merge_every=1, first_counter=2, ltm_blocks=1),
    "full multi-head": Shape(kv_heads=4),
    "one shared draw": Shape(shared_drop=True),
    "one row per write": Shape(rows=1, blocks=7, ltm_blocks=3, ltm_rows=5),
    "pool of one write": Shape(blocks=1),
}
MEMORYLLM = {
    "memoryllm": Shape(ltm_blocks=0),
    "memoryllm, no adapters": Shape(ltm_blocks=0, lora=0, shared_drop=True),
    "memoryllm, linear rope": Shape(ltm_blocks=0, rope_scaling=LINEAR),
    "memoryllm, no bos": Shape(ltm_blocks=0, bos=False),
    "memoryllm, uninitialised": Shape(ltm_blocks=0, initialized=False),
    "memoryllm, uninitialised, no adapters": Shape(
        ltm_blocks=0, lora=0, initialized=False, shared_drop=True
    ),
}


def random_shape(seed: int) -> Shape:
    """A shape nobody chose."""
    lots = random.Random(seed)
    kv_heads = lots.choice([1, 2])
    heads = kv_heads * lots.choice([1, 2, 3])
    return Shape(
        layers=lots.randint(1, 4),
        hidden=heads * 8,
        heads=heads,
        kv_heads=kv_heads,
        wide=lots.randint(16, 40),
        vocab=lots.randint(20, 80),
        rows=lots.randint(2, 9),
        blocks=lots.randint(1, 6),
        ltm_blocks=lots.randint(0, 3),
        ltm_rows=lots.randint(0, 40),
        ltm_ages=lots.choice([1, 5, 200]),
        merge_every=lots.randint(1, 4),
        first_counter=lots.randint(1, 4),
        selector_layers=lots.choice([1, 2]),
        selector_dim=lots.randint(2, 12),
        bos=lots.random() < 0.5,
        lora=lots.choice([0, 2, 5]),
        decoder_lora=lots.random() < 0.7,
        rope_scaling=lots.choice([None, LINEAR, LLAMA3]),
        shared_drop=lots.random() < 0.3,
        initialized=lots.random() < 0.7,
    )
