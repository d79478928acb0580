"""A chunk of several query blocks, fused, against the stock function over everything at once."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from memplus import MemoryConfig, MPlus


@pytest.mark.parametrize("tokens", [128, 129, 300])
def test_blocks_of_a_chunk_equal_the_whole(tokens: int) -> None:
    torch.manual_seed(0)
    stock = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            vocab_size=128,
            max_position_embeddings=1024,
        )
    ).eval()
    config = MemoryConfig(
        short_term_tokens=64, retrieved_tokens=16, tokens_per_write=8, retriever_dim=8
    )
    model = MPlus.from_backbone(stock, config)
    memory = model.new_memory()
    model.write_chunk(memory, torch.randint(128, (16,)))
    ids = torch.randint(128, (tokens,))

    with torch.no_grad():
        fused = model.compress(memory, ids)
    whole = model.compress(memory, ids)  # with a graph: everything concatenated, stock function

    assert whole.requires_grad
    torch.testing.assert_close(fused, whole, atol=2e-5, rtol=0)
