"""The numbers of the published code, replayed by the fast path.

Its query is the text that is read, its eviction takes the older half, and its gate stands on
scores: options that are not the default. A long call goes in pieces of a chunk, each read and then
written, and its last context is read whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.systems.golden import golden_folder
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from memplus.backbone.access import Backbone
from memplus.systems.memlong.embedders import TextVectors
from memplus.systems.memlong.lookup import Found, gathered
from memplus.systems.memlong.mechanism import MemLong
from memplus.systems.memlong.options import MemLongOptions
from memplus.systems.memlong.reading import Reading
from memplus.systems.memlong.state import MemLongState

CLOSE = 1e-5


class Watched(MemLong):
    """Keeps what every read found."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.readings: list[Reading] = []

    def _reading(self, *given: Any) -> Reading:
        self.readings.append(super()._reading(*given))
        return self.readings[-1]

    @property
    def reads(self) -> list[Found]:
        """Of the reads that found any."""
        return [one.found for one in self.readings if one.found is not None]


def published(sizes: dict[str, Any], tensors: dict[str, Tensor]) -> Watched:
    config = LlamaConfig(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["ff"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        rms_norm_eps=sizes["rms_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": sizes["rope_theta"]},
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    config._attn_implementation = "sdpa"
    model = LlamaForCausalLM(config).eval()
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    gates = {n: weights.pop(n) for n in list(weights) if "ret_gate" in n}
    model.load_state_dict(weights)
    options = MemLongOptions(
        memory_layer=sizes["memory_layer"],
        retrieval_layers=tuple(sizes["retrieval_layers"]),
        chunk=sizes["chunk"],
        top_k=sizes["top_k"],
        segment=sizes["last_context"],
        local=sizes["last_context"],
        bank=sizes["memory_tokens"],
        query="own",
        eviction="fifo",
        gate="scores" if sizes["gate"] else "none",
        positions={"Zero": "zero", "Continual": "continual"}[sizes["position_type"]],
    )
    table = tensors["embedder.table"]

    def embed(texts: Any) -> Tensor:
        means = torch.stack([table[torch.tensor(ids)].mean(dim=0) for ids in texts])
        return torch.nn.functional.normalize(means, dim=1)

    made = Watched(Backbone(model), options, TextVectors(embed, table.shape[1]))
    for name, gate in gates.items():
        made.gates[name.split(".")[2]].data.copy_(gate.flatten())
    return made


def pieces(ids: Tensor, chunk: int, last: int) -> Iterator[Tensor]:
    before = max(0, ids.shape[1] - last)
    yield from ids[:, :before].split(chunk, dim=1) if before else ()
    yield ids[:, before:]


def close(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= CLOSE)


@torch.no_grad()
def replay(sizes: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    model = published(sizes, tensors)
    state: MemLongState = model.empty(1)
    for call in range(len(sizes["call_lengths"])):
        given, model.readings = tensors[f"call{call}.input_ids"], []
        hidden, before = [], state
        for piece in pieces(given, sizes["chunk"], sizes["last_context"]):
            before = state
            read, state = model.read_and_write(state, piece)
            hidden.append(read)
        logits = model.backbone.model.lm_head(torch.cat(hidden, dim=1))
        assert close(logits, tensors[f"call{call}.logits"])
        (bank,) = state.banks
        assert bank.lengths == tensors[f"call{call}.chunk_lengths_after"].tolist()
        kept = bank.rows["keys"].transpose(0, 1)[None]
        assert close(kept, tensors[f"call{call}.memory_keys_after"])
        chosen = [
            name for name in tensors if name.startswith(f"call{call}.read") and "chunks" in name
        ]
        assert len(model.reads) == len(chosen)
        for number, found in enumerate(model.reads):
            assert found.chunks == tensors[f"call{call}.read{number}.chunks"].tolist()
        if model.reads:
            check_last_read(model.reads[-1], before, tensors, f"call{call}.read{len(chosen) - 1}")


def check_last_read(
    found: Found, before: MemLongState, tensors: dict[str, Tensor], name: str
) -> None:
    assert close(found.keys, tensors[f"{name}.keys"])
    assert close(found.values, tensors[f"{name}.values"])
    again = gathered(before.banks, found.chunks)
    assert again is not None
    assert again.keys.equal(found.keys)


def test_golden_numbers_of_the_published_code() -> None:
    files = sorted(golden_folder("memlong").glob("*.json"))
    if not files:
        pytest.skip("the folder holds no golden numbers")
    for file in files:
        sizes = json.loads(file.read_text())
        replay(sizes, load_file(file.with_suffix(".safetensors")))
