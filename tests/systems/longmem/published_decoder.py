"""A decoder shaped like the published one: parallel blocks, ALiBi, exact GELU, by the conventions
of the library's decoders, so that the mechanism runs on it as on any other.

Weights have the names of the golden files.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memplus.backbone.families import Family


def eager_attention_forward(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    scores = query @ key.transpose(2, 3) * options["scaling"] + mask
    weights = scores.softmax(dim=-1)
    return (weights @ value).transpose(1, 2), weights


class PublishedConfig:
    model_type = "published"
    is_encoder_decoder = False
    num_attention_heads: int

    def __init__(self, **sizes: Any) -> None:
        self.__dict__.update(sizes)
        self.rope_parameters = {"rope_type": "default"}
        self.max_position_embeddings = 4096
        self._attn_implementation = "sdpa"

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


class Attention(nn.Module):
    use_rope = False

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = 1
        self.is_causal = True
        width = config.hidden_size
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def forward(self, hidden: Tensor, attention_mask: Tensor, **options: Any) -> Tensor:
        parts = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (
            part(hidden).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in parts
        )
        function = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        scaling = self.head_dim**-0.5
        options = options | {"scaling": scaling, "dropout": 0.0}
        out, _ = function(self, query, key, value, attention_mask, **options)
        projected: Tensor = self.out_proj(out.flatten(2))
        return projected


class Inner(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.fc_in = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc_out = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.fc_out(functional.gelu(self.fc_in(hidden)))
        return out


class Block(nn.Module):
    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.attn = Attention(config, layer)
        self.mlp = Inner(config)

    def forward(self, hidden: Tensor, **options: Any) -> Tensor:
        normed = self.ln_1(hidden)
        out: Tensor = hidden + self.attn(normed, **options) + self.mlp(normed)
        return out


def slopes(heads: int) -> Tensor:
    """Of the ALiBi paper; beside a power of two, every second one of twice as many."""
    whole = 2 ** int(math.log2(heads))
    found = [2.0 ** (-8 * (head + 1) / whole) for head in range(whole)]
    between = [2.0 ** (-4 * (head + 1) / whole) for head in range(0, 2 * whole, 2)]
    return torch.tensor([*found, *between][:heads])


class PublishedDecoder(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.ln_f = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.rotary_emb = nn.Identity()

    def set_input_embeddings(self, embedding: nn.Module) -> None:
        self.wte = embedding  # type: ignore[assignment]

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        **call: Any,
    ) -> Any:
        assert not use_cache
        assert attention_mask is None
        hidden = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        place = torch.arange(hidden.shape[1])
        bias = slopes(self.config.num_attention_heads)[:, None, None] * place
        bias = bias.masked_fill(place[:, None] < place, -torch.inf)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=bias[None], **call)
        return SimpleNamespace(last_hidden_state=self.ln_f(hidden))


class PublishedModel(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.transformer = PublishedDecoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)

    def get_decoder(self) -> PublishedDecoder:
        return self.transformer

    def get_input_embeddings(self) -> nn.Module:
        return self.transformer.wte

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


def _projected(attention: Any, normed: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    parts = (attention.k_proj, attention.v_proj)
    key, value = (part(normed).unflatten(-1, (-1, head_dim)) for part in parts)
    return key, value


FAMILY = Family(
    _projected, input_norm="ln_1", attention="attn", outputs=("attn.out_proj", "mlp.fc_out")
)
