"""The published code's numbers, by the mechanism itself on a decoder like the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.systems.golden import golden_files
from tests.systems.longmem.published_decoder import FAMILY, PublishedConfig, PublishedModel
from torch import Tensor

from memplus.backbone import access, families, side_decoder
from memplus.backbone.access import Backbone
from memplus.systems.longmem.bank import Bank
from memplus.systems.longmem.mechanism import LongMem
from memplus.systems.longmem.options import LongMemOptions
from memplus.systems.longmem.retrieval import best_chunks

TOLERANCE = 1e-5


FILES = golden_files("longmem")


def published(sizes: dict[str, Any], tensors: dict[str, Tensor]) -> LongMem:
    config = PublishedConfig(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["d_model"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["ff"],
        num_hidden_layers=sizes["backbone_layers"],
        norm_eps=sizes["backbone_norm_eps"],
    )
    model = PublishedModel(config).eval()
    own = {
        name.removeprefix("backbone.").replace("transformer.h.", "transformer.layers."): weight
        for name, weight in tensors.items()
        if name.startswith("backbone.")
    }
    model.load_state_dict(own)
    options = LongMemOptions(
        reduction=sizes["layer_reduction"],
        memory_layer=sizes["memory_layer_backbone"],
        chunk_tokens=(size := sizes["chunk"]),
        retrieved_tokens=sizes["retrieved_tokens"] // size * size,
        bank_tokens=sizes["memory_tokens"] // size * size,
        segment_tokens=max(1, sizes["segment"] // size) * size,
        init="published",
        gate_rate=1.0,
        published=True,
    )
    mechanism = LongMem(Backbone(model), options)  # type: ignore[arg-type]
    assert mechanism.memory_layer == sizes["memory_layer_side"]
    mechanism.take_weights(side_weights(tensors))
    return mechanism


def side_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By our names: those of the golden files with other words for the same parts."""
    renamed = {"self_attn": "attn", "fc1": "mlp.fc_in", "fc2": "mlp.fc_out"}
    found: dict[str, Tensor] = {}
    for name, weight in tensors.items():
        if name.endswith("memory_bias"):
            found["gate"] = weight
        elif name.startswith("side.final_norm."):
            found[name.replace("side.final_norm", "side.decoder.ln_f")] = weight
        elif name.startswith("side."):
            _, layer, part, rest = name.split(".", 3)
            found[f"side.decoder.layers.{layer}.{renamed.get(part, part)}.{rest}"] = weight
    return found


def close(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and (found - wanted).abs().max().item() < TOLERANCE


def chunks_of(bank: Bank, query: Tensor, heads: int, count: int) -> Tensor:
    """[H, T, B, n] for queries [T, B, d], as the golden files have them."""
    asking = query.transpose(0, 1).unflatten(-1, (heads, -1))
    return best_chunks(asking, bank, count, filled=True).permute(2, 1, 0, 3)


@pytest.mark.skipif(not FILES, reason="no golden numbers beside the repository")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@torch.no_grad()
def test_golden_segments_one_after_the_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (families, access, side_decoder):
        monkeypatch.setitem(module.FAMILIES, "published", FAMILY)
    sizes, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    mechanism = published(sizes, tensors)
    model: Any = mechanism.backbone.model
    seen: dict[str, Tensor] = {}
    attention = mechanism.side.decoder.layers[mechanism.memory_layer].attn
    attention.q_proj.register_forward_hook(lambda m, a, out: seen.update(query=out))
    attention.register_forward_hook(lambda m, a, out: seen.update(attention=out))
    bank, count = mechanism.empty(sizes["batch"]), mechanism.options.chunks
    for segment, ids in enumerate(tensors["input_ids"]):
        now = {
            name.removeprefix(f"seg{segment}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"seg{segment}.")
        }
        assert len(bank) == now["chunks_before"].item()
        plain = model.lm_head(model.transformer(input_ids=ids).last_hidden_state)
        assert close(plain, now["backbone_logits"])
        assert close(mechanism.read(bank, ids), now["features"])
        hidden, after = mechanism.read_and_write(bank, ids)
        assert close(hidden, now["features"])
        assert close(model.lm_head(hidden), now["logits"])
        if "chunk_index" in now:
            assert close(seen["query"].transpose(0, 1), now["memory_layer_query"])
            assert close(seen["attention"].transpose(0, 1), now["memory_layer_attention"])
            found = chunks_of(bank, now["memory_layer_query"], sizes["heads"], count)
            assert found.equal(now["chunk_index"])
        assert_written(mechanism, bank, after, ids, now)
        bank = after


def assert_written(
    mechanism: LongMem, bank: Bank, after: Bank, ids: Tensor, now: dict[str, Tensor]
) -> None:
    """What the segment put into the bank is the published keys and values, row by row."""
    shape, written = mechanism.bank_shape, mechanism.write(bank, ids)
    for name in ("key", "value"):
        wanted = now[f"memory_{name}"].flatten(0, 1)
        count = len(wanted) // shape.chunk_tokens
        by_chunk = wanted[: count * shape.chunk_tokens].unflatten(0, (count, -1))
        by_chunk = by_chunk.unflatten(-1, (shape.heads, -1)).transpose(1, 2)[:, None]
        for one in (after, written):
            assert close(one.tensors[f"{name}s"][-count:], by_chunk)
