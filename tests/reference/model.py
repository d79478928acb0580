"""M+ and MemoryLLM as a handful of loops over layers and rows.

Written from the description of what is computed, with no eye on speed: every read projects every
memory row anew, every mask is explicit. Gradients flow through everything but the choice of
rows.

Shapes: L layers, T tokens, n rows, d hidden size, K rows per write, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tests.reference.config import ReferenceConfig
from tests.reference.llama import Decoder, KeysValues
from tests.reference.state import Row, State, empty_state, written
from torch import Tensor
from torch.nn.functional import silu


@dataclass
class Read:
    """What one read computed."""

    logits: Tensor
    """[T, V]."""
    scores: list[Tensor]
    """Per layer [stored rows]; empty where nothing is stored."""
    order: list[list[int]]
    """Per layer: indices of the retrieved rows in the order in which they were read."""
    cache: list[KeysValues]
    """Per layer: rotated keys and values of the whole sequence."""


@dataclass
class Write:
    """What one write pass computed."""

    delta: Tensor
    """[L, k, d] the new rows."""
    logits: Tensor
    """[T, V] of the chunk, by the same pass."""


class Reference:
    """The model: weights in the published layout, and no memory of its own.

    Args:
        raw: the published config.json.
        tensors: the published state dict; cast it to float64 for exact gradients.
    """

    def __init__(self, raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        initialized = bool(int(tensors["initialized"])) if "initialized" in tensors else True
        self.config = ReferenceConfig.from_published(raw, initialized=initialized)
        self.tensors = tensors
        self.decoder = Decoder(self.config, tensors)

    def initial_state(self) -> State:
        """The rows that come with the checkpoint."""
        config, tensors = self.config, self.tensors
        state = empty_state(config)
        for layer in range(config.layers):
            if not config.tiled:
                state.short[layer].extend(Row(row, age=0) for row in tensors["memory"][layer])
            if not config.M or f"ltm.{layer}" not in tensors:
                continue
            for i, hidden in enumerate(tensors[f"ltm.{layer}"]):
                state.long[layer].append(
                    Row(
                        hidden,
                        age=int(tensors[f"ltm_ages.{layer}"][i]),
                        key=tensors[f"ltm_keys.{layer}"][i],
                        counter=float(tensors[f"ltm_recall_frequencies.{layer}"][i]),
                    )
                )
        return state

    # Retrieval ------------------------------------------------------------------------------

    def retriever(self, which: str, layer: int, rows: Tensor) -> Tensor:
        """f_q ("query_proj") or f_k ("key_proj") of rows [n, d]: [n, R]."""
        name = f"model.layers.{layer}.self_attn.{which}"
        normed = self.decoder.input_norm(layer, rows)
        if f"{name}.weight" in self.tensors:
            return normed @ self.tensors[f"{name}.weight"].T
        middle = silu(normed @ self.tensors[f"{name}.0.weight"].T)
        return middle @ self.tensors[f"{name}.2.weight"].T

    def retrieve(
        self, state: State, layer: int, prompt: Tensor
    ) -> tuple[list[Row], Tensor, list[int]]:
        """Choose stored rows for a prompt's layer inputs [T, d], oldest first.

        Returns:
            The rows, the scores of all stored rows, and the chosen indices in reading order.
        """
        stored = state.stored(layer)
        if not stored:
            return [], torch.empty(0), []
        queries = self.retriever("query_proj", layer, prompt)
        keys = torch.stack([row.stored_key for row in stored])
        scores = torch.sigmoid(queries @ keys.T).mean(dim=0)
        best_first = sorted(
            range(len(stored)), key=lambda i: float(scores[i].detach()), reverse=True
        )
        chosen = best_first[: self.config.M]
        order = sorted(chosen, key=lambda i: (stored[i].age, i), reverse=True)
        return [stored[i] for i in order], scores, order

    # Reading --------------------------------------------------------------------------------

    def _bos(self, layer: int) -> list[Tensor]:
        return [self.tensors["bos_embedding"][layer]] if self.config.bos else []

    def read(
        self,
        state: State,
        ids: Tensor,
        *,
        extra: Tensor | None = None,
        asked_from: int = 0,
    ) -> Read:
        """Put a prompt through the model behind a memory.

        Args:
            state: the memory.
            ids: [T].
            extra: [L, k, d] rows not yet written, read after the pool.
            asked_from: tokens before this one take no part in retrieval (a tail).
        """
        result = Read(torch.empty(0), [], [], [])
        hidden = self.decoder.embed(ids)
        for layer in range(self.config.layers):
            rows, scores, order = self.retrieve(state, layer, hidden[asked_from:])
            prefix = [] if state.tiled else self._bos(layer)
            prefix += [row.hidden[None] for row in rows + state.short[layer]]
            prefix += [] if extra is None else [extra[layer]]
            hidden = self._read_layer(layer, prefix, hidden, self.config.read_adapter, result)
            result.scores.append(scores)
            result.order.append(order)
        result.logits = self.decoder.logits(hidden)
        return result

    def read_on_delta(self, delta: Tensor, ids: Tensor) -> Tensor:
        """Logits [T, V] of a prompt that sees nothing but fresh rows [L, k, d]: a training mode."""
        result = Read(torch.empty(0), [], [], [])
        hidden = self.decoder.embed(ids)
        for layer in range(self.config.layers):
            prefix = [*self._bos(layer), delta[layer]]
            hidden = self._read_layer(layer, prefix, hidden, self.config.write_adapter, result)
        return self.decoder.logits(hidden)

    def _read_layer(
        self, layer: int, prefix: list[Tensor], hidden: Tensor, adapter: str | None, result: Read
    ) -> Tensor:
        sequence = torch.cat([*prefix, hidden])
        seen = self.decoder.keys_values(layer, sequence, 0, adapter)
        result.cache.append(seen)
        return self.decoder.layer(layer, hidden, seen, adapter)

    def proceed(self, cache: Sequence[KeysValues], ids: Tensor) -> tuple[Tensor, list[KeysValues]]:
        """Logits [T, V] of more tokens on the cache of a read, and the longer cache.

        Nothing is retrieved anew; the tokens are causal among themselves.
        """
        adapter = self.config.read_adapter
        hidden = self.decoder.embed(ids)
        longer: list[KeysValues] = []
        for layer, (keys, values) in enumerate(cache):
            new_keys, new_values = self.decoder.keys_values(layer, hidden, keys.shape[0], adapter)
            seen = torch.cat([keys, new_keys]), torch.cat([values, new_values])
            longer.append(seen)
            hidden = self.decoder.layer(layer, hidden, seen, adapter)
        return self.decoder.logits(hidden), longer

    def generate(self, state: State, ids: Tensor, count: int) -> tuple[list[int], Tensor]:
        """Greedy: ``count`` new ids and the logits [count, V] they were chosen from."""
        first = self.read(state, ids)
        logits, cache = [first.logits[-1]], first.cache
        chosen = [int(logits[0].argmax())]
        while len(chosen) < count:
            row, cache = self.proceed(cache, torch.tensor(chosen[-1:]))
            logits.append(row[0])
            chosen.append(int(row[0].argmax()))
        return chosen, torch.stack(logits)

    # Writing --------------------------------------------------------------------------------

    def context(self, state: State) -> list[Tensor]:
        """Per layer [<= K, d]: the newest pool rows, which a write attends to."""
        if not state.short[0]:
            return [torch.empty(0, self.config.hidden) for _ in state.short]
        return [state.short_hidden(layer)[-self.config.K :] for layer in range(len(state.short))]

    def write_pass(
        self, context: Sequence[Tensor] | Tensor, ids: Tensor, *, tiled: bool = False
    ) -> Write:
        """Compress a chunk; the memory stays as it is.

        Args:
            context: per layer [c, d], or [L, c, d]: the newest rows.
            ids: [T].
            tiled: the first write of an uninitialised pool: no bos, and every layer's result
                but the last carries the memory embedding a second time.
        """
        embedding = self.tensors["new_memory_positional_emb"][0, 0]
        adapter = self.config.write_adapter
        hidden = self.decoder.embed(ids)
        tokens = ids.shape[0]
        delta: list[Tensor] = []
        for layer in range(self.config.layers):
            rows = torch.cat([context[layer].to(hidden.dtype), hidden])
            new = min(self.config.K, rows.shape[0])
            rows = torch.cat([rows[:-new], rows[-new:] + embedding])
            bos = [] if tiled else self._bos(layer)
            seen = self.decoder.keys_values(layer, torch.cat([*bos, rows]), 0, adapter)
            output = self.decoder.layer(layer, rows[-max(tokens, new) :], seen, adapter)
            again = tiled and layer < self.config.layers - 1
            delta.append(output[-new:] + embedding if again else output[-new:])
            hidden = output[-tokens:]
        return Write(torch.stack(delta), self.decoder.logits(hidden))

    def write_delta(self, state: State, ids: Tensor) -> Tensor:
        """[L, k, d] the rows that a write of ``ids`` would append."""
        return self.write_pass(self.context(state), ids, tiled=state.tiled).delta

    def inject(
        self, state: State, ids: Tensor, drop: Sequence[Sequence[int]] | Tensor | None = None
    ) -> State:
        """The memory after one chunk.

        Args:
            state: the memory before.
            ids: [T].
            drop: positions in the pool that each layer gives up; one list serves all layers;
                None where nothing has to go.
        """
        delta = self.write_delta(state, ids)
        lists = [list(map(int, positions)) for positions in drop] if drop is not None else [[]]
        if len(lists) == 1:
            lists = lists * self.config.layers
        return written(self.config, state, delta, lists, self._key_of)

    def _key_of(self, layer: int, hidden: Tensor) -> Tensor:
        return self.retriever("key_proj", layer, hidden[None])[0]
