"""A smaller decoder of the same family beside a stock one, whose weights are its own.

It is the library's own decoder with fewer layers and no embedding; positions, masks and caches are
those of the family. Two things are put into it from outside: something is added to what each layer
gives, and one layer's attention may be changed before its output projection. Both come with the
call, so that passes know nothing of each other.

Shapes: B batch, T tokens, d hidden size, Q query heads, D head width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from memplus.backbone.access import Backbone
from memplus.backbone.attention import Attended, eager_function
from memplus.backbone.base_weights import adapted_names
from memplus.backbone.families import FAMILIES
from memplus.backbone.layer_states import Text, new_cache
from memplus.backbone.rope import Rope

__all__ = ["Change", "SideDecoder"]

Change = Callable[[Tensor, Tensor], Tensor]
"""(queries without rotation [B, T, Q, D], what attention found [B, T, Q, D]) -> [B, T, Q, D]."""

_CALL = "memplus_side"
"""Name of the keyword under which a call travels through the library's forward methods."""
_NAMES = {"sdpa": "memplus_side_sdpa", "eager": "memplus_side_eager"}


@dataclass
class _Call:
    """What one pass puts into the decoder."""

    added: Sequence[Tensor]
    change: Change | None
    query: Tensor | None = None


class SideDecoder(nn.Module):
    """Layers, and a final norm, that begin as copies of the stock decoder's.

    Args:
        backbone: the stock decoder; it is not kept.
        origins: of which of its layers each layer begins as a copy.
        changing: the layer whose attention a pass may change.
    """

    def __init__(self, backbone: Backbone, origins: Sequence[int], changing: int) -> None:
        super().__init__()
        self.family = FAMILIES[backbone.config.model_type]
        self.head_dim = backbone.head_dim
        config = _config(backbone, origins)
        self.decoder: Any = _decoder(backbone, config, origins)
        self.rope = Rope(self.decoder.rotary_emb, config)
        for index, layer in enumerate(self.decoder.layers):
            layer.register_forward_hook(partial(_add, index), with_kwargs=True)
        attention = getattr(self.decoder.layers[changing], self.family.attention)
        attention.register_forward_pre_hook(self._ask, with_kwargs=True)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights, and so of what it takes and gives."""
        weight: Tensor = next(self.decoder.parameters())
        return weight.dtype

    @property
    def query_heads(self) -> int:
        """Q."""
        return int(self.decoder.config.num_attention_heads)

    def outputs(self, layer: int) -> tuple[nn.Module, nn.Module]:
        """The linear layers that attention and the feed-forward part of a layer end with."""
        module = self.decoder.layers[layer]
        attention, inner = (module.get_submodule(name) for name in self.family.outputs)
        return attention, inner

    def set_eps(self, eps: float) -> None:
        """Give every norm this epsilon in the place of the stock decoder's."""
        for module in self.decoder.modules():
            for name in ("eps", "variance_epsilon"):
                if hasattr(module, name):
                    setattr(module, name, eps)

    def new_cache(self) -> DynamicCache:
        """An empty one, for a text that is read in parts."""
        return new_cache(self.decoder.config)

    def forward(
        self,
        hidden: Tensor,
        added: Sequence[Tensor],
        change: Change | None,
        text: Text,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        """Read vectors in the place of embedded tokens.

        Args:
            hidden: [B, T, d] what the first layer gets.
            added: for each layer [B, T, d], what its output gets added.
            change: of the attention of one layer; None: it stays as it is.
            text: where the tokens stand.
            cache: keys and values of the tokens before these, which gets those of these.

        Returns:
            [B, T, d] after the final norm.
        """
        call = {_CALL: _Call(added, change)}
        with self.rope.unchanged():
            output = self.decoder(inputs_embeds=hidden, **text.arguments(cache), **call)
        final: Tensor = output.last_hidden_state
        return final

    def _ask(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Work out the queries that a change needs, without their rotation."""
        call: _Call = kwargs[_CALL]
        if call.change is not None:
            hidden = args[0] if args else kwargs["hidden_states"]
            call.query = self.family.query(module, hidden, self.head_dim)


def _add(index: int, module: Any, args: Any, kwargs: dict[str, Any], output: Tensor) -> Tensor:
    call: _Call = kwargs[_CALL]
    return output + call.added[index]


def _attention(stock: str, module: Any, *inputs: Any, **options: Any) -> Attended:
    """The stock attention, changed where the layer has worked out queries for that."""
    call: _Call = options.pop(_CALL)
    function = sdpa_attention_forward if stock == "sdpa" else eager_function(module)
    output, weights = function(module, *inputs, **options)
    if call.query is None or call.change is None:
        return output, weights
    query, call.query = call.query, None
    return call.change(query, output), None


for _stock, _mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
    AttentionInterface.register(_NAMES[_stock], partial(_attention, _stock))
    AttentionMaskInterface.register(_NAMES[_stock], _mask)


def _config(backbone: Backbone, origins: Sequence[int]) -> Any:
    """The stock decoder's config, for the layers that are copied."""
    config = copy.deepcopy(backbone.config)
    total = len(backbone.layers)
    for name, value in backbone.config.to_dict().items():
        if isinstance(value, list) and len(value) == total:
            setattr(config, name, [value[origin] for origin in origins])
    config.num_hidden_layers = len(origins)
    config.vocab_size, config.pad_token_id = 1, None
    return config


def _decoder(backbone: Backbone, config: Any, origins: Sequence[int]) -> Any:
    """A decoder of the library's class with copies of the stock weights."""
    with torch.device("meta"):
        decoder: Any = type(backbone.decoder)(config)
    decoder.set_input_embeddings(nn.Identity())
    decoder.rotary_emb = copy.deepcopy(backbone.decoder.rotary_emb)
    weights = backbone.decoder.state_dict()
    plain = {name: weights[held] for name, held in adapted_names(weights).items()}
    taken = {name: plain[_origin(name, origins)].detach().clone() for name in decoder.state_dict()}
    decoder.load_state_dict(taken, assign=True)
    decoder.requires_grad_()
    decoder.config._attn_implementation = _NAMES[backbone.attention_implementation]
    return decoder.eval()


def _origin(name: str, origins: Sequence[int]) -> str:
    """The name of the stock weight that a weight begins as."""
    room, _, rest = name.partition(".")
    if room != "layers":
        return name
    layer, _, inner = rest.partition(".")
    return f"layers.{origins[int(layer)]}.{inner}"
