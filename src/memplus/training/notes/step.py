"""One step of training: write the chunks, read the questions, add up the losses.

Works on any ``MPlus``: everything goes through the same write and read passes as inference.

An episode comes on the CPU. Whatever decides a shape, and whatever is drawn, is worked out there,
so that a run draws the same on every device and a GPU is never waited for in the middle of a step.

Shapes: D documents, C chunks, T chunk tokens, K rows per write, L layers, G groups, Q questions,
R rows of the step, n short-term rows, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from memplus.backbone.session import running
from memplus.memory.short_term import draw_survivors
from memplus.mplus.model import MPlus
from memplus.passes.write import write_pass
from memplus.training.notes.jobs import IGNORED, Episode
from memplus.training.notes.pool_prefix import PoolPrefix, Retrieval
from memplus.training.notes.recipe import Recipe, Stage
from memplus.training.tasks.grouped_read import GroupedReadSession
from memplus.training.tasks.losses import answer_loss, recall, retrieval_loss

__all__ = ["Stepper"]

_REPEATED = 24
_KEPT_ROWS = 512
"""Of each step: rows that state a value first, since they are the hardest to tell apart."""


@dataclass
class _Written:
    rows: list[Tensor]
    """Per layer [R, d]: documents in order, their chunks in order."""
    newest: Tensor
    """[D, L, K, d]: of the last chunk, without graph."""
    language: Tensor
    """Mean loss of the chunks' own next tokens, over a quarter of the documents."""


@dataclass
class Stepper:
    """Computes losses; keeps what passes from one step to the next."""

    model: MPlus
    recipe: Recipe
    generator: torch.Generator
    context: Tensor | None = None
    """[D, L, K, d] rows of the step before: what a first chunk attends to."""
    earlier: list[list[Tensor]] = field(default_factory=list)
    """Rows of earlier steps, per layer, as distractors in the long-term memory."""

    def step(self, stage: Stage, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss [] of an episode, given on the CPU, and its figures [], without graph."""
        weights = self.recipe.optimizing
        written = self._write(episode)
        pools = self._pools(stage)
        read = self._read(stage, episode, written.rows, pools)
        loss, figures = self._answers(stage, episode, read[0])
        loss = loss + stage.language * written.language
        figures["language"] = written.language.detach()
        if stage.repeat:
            repeated = self._repeat(stage, episode, written.rows, pools)
            loss = loss + stage.repeat * repeated
            figures["repeat"] = repeated.detach()
        retrieval = read[1]
        if retrieval is not None and retrieval.scores:
            told = retrieval.told[retrieval.learned]
            parts = [retrieval_loss(s, told, weights.temperature) for s in retrieval.scores]
            learned = torch.stack(parts).mean()
            loss = loss + weights.retrieval * learned
            count = self.recipe.memory.retrieved_tokens
            found = [recall(s.detach(), told, count) for s in retrieval.scores]
            figures |= {"retrieval": learned.detach(), "recall": torch.stack(found).min()}
        self.context = written.newest
        self._keep(stage, written.rows, episode.told.any(dim=0))
        return loss, figures

    def _write(self, episode: Episode) -> _Written:
        documents, count = episode.chunks.shape[:2]
        model, new = self.model, self.recipe.memory.tokens_per_write
        context = self._first_context(documents)
        made, losses = [], []
        told = max(1, documents // 4)
        chunks = episode.chunks.to(model.device)
        for index in range(count):
            ids = chunks[:, index]
            out = write_pass(model.backbone, model.weights, ids, context, new)
            logits = model.core.logits(out.last_hidden[:told, :-1]).float()
            losses.append(functional.cross_entropy(logits.flatten(0, 1), ids[:told, 1:].flatten()))
            context = out.rows
            made.append(out.rows)
        stacked = torch.stack(made, dim=1)  # [D, C, L, K, d]
        rows = [stacked[:, :, layer].flatten(0, 2) for layer in range(stacked.shape[2])]
        return _Written(rows, context.detach(), torch.stack(losses).mean())

    def _first_context(self, documents: int) -> Tensor:
        layers, width = len(self.model.backbone.layers), self.model.backbone.hidden_size
        if self.context is None:
            return torch.zeros((documents, layers, 0, width), device=self.model.device)
        repeats = -(-documents // self.context.shape[0])
        return self.context.repeat(repeats, 1, 1, 1)[:documents]

    def _pools(self, stage: Stage) -> Tensor:
        """[L, G, n] rows that each group's short-term pool still holds, as writes drop them."""
        new, size = self.recipe.memory.tokens_per_write, self.recipe.memory.short_term_tokens
        groups = stage.documents // stage.group
        count = stage.group * stage.chunks * new
        rows = torch.arange(groups * count).view(groups, count)
        rows = rows.expand(len(self.model.backbone.layers), -1, -1)
        if stage.retrieves and count > size:
            kept = draw_survivors((len(rows), groups, count), new, size, self.generator)
            rows = rows.gather(2, kept)
        return rows.to(self.model.device)

    def _read(
        self, stage: Stage, episode: Episode, rows: list[Tensor], pools: Tensor
    ) -> tuple[Tensor, Retrieval | None]:
        told = episode.told
        if stage.retrieves and stage.earlier and self.earlier:
            # A note that is asked for may be older or newer than what else is retrieved.
            cut = int(torch.randint(len(self.earlier) + 1, (), generator=self.generator))
            steps = [*self.earlier[:cut], rows, *self.earlier[cut:]]
            before = sum(len(one[0]) for one in steps[:cut])
            after = sum(len(one[0]) for one in steps[cut + 1 :])
            rows = [torch.cat(layer) for layer in zip(*steps, strict=True)]
            told = functional.pad(told, (before, after))
            pools = pools + before
        asked = told.any(dim=1).nonzero()[:, 0]
        order = torch.randperm(len(asked), generator=self.generator)
        chance = torch.rand(len(told), generator=self.generator)
        retrieval = Retrieval(
            self.recipe.memory.retrieved_tokens if stage.retrieves else 0,
            episode.prompt,
            told,
            chance < stage.forced,
            asked[order[: self.recipe.optimizing.scored]],
        )
        device = self.model.device
        prefix = PoolPrefix(self.model, rows, pools, retrieval.to(device))
        return _read_pass(self.model, episode.ids.to(device), prefix), retrieval

    def _answers(
        self, stage: Stage, episode: Episode, hidden: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        device, there = hidden.device, episode.labels != IGNORED
        logits = self.model.core.logits(hidden[_places(there, device)])
        labels = episode.labels[there].to(device)
        weights = torch.ones(there.shape)
        weights[episode.abstains] = stage.abstain_weight
        loss = answer_loss(logits, labels, weights[there].to(device))
        tail = episode.tail_labels != IGNORED
        if tail.any():
            text = self.model.core.logits(hidden[_places(tail, device)]).float()
            follow = functional.cross_entropy(text, episode.tail_labels[tail].to(device))
            loss = loss + stage.language * follow
        right = torch.ones(there.shape, dtype=torch.bool, device=device)
        right[_places(there, device)] = logits.detach().argmax(dim=-1) == labels
        shares = {
            "right": ~episode.abstains,
            "right_far": episode.far,
            "abstained": episode.abstains,
        }
        figures = {
            name: right[_places(asked, device)].all(dim=1).float().mean()
            for name, asked in shares.items()
            if asked.any()
        }
        return loss, {"loss": loss.detach(), **figures}

    def _repeat(self, stage: Stage, episode: Episode, rows: list[Tensor], pools: Tensor) -> Tensor:
        """Mean loss of going on with pieces of what was written, from any point of it."""
        groups = stage.documents // stage.group
        text = episode.chunks.reshape(groups, -1)
        each = max(1, stage.group * stage.chunks // 2)
        high = text.shape[1] - _REPEATED
        starts = torch.randint(0, high, (groups, each, 1), generator=self.generator)
        places = starts + torch.arange(_REPEATED)
        ids = text[:, None].expand(-1, each, -1).gather(2, places).flatten(0, 1)
        ids = ids.to(self.model.device)
        hidden = _read_pass(self.model, ids, PoolPrefix(self.model, rows, pools))
        logits = self.model.core.logits(hidden[:, 1:-1]).float()
        return functional.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten())

    def _keep(self, stage: Stage, rows: list[Tensor], stating: Tensor) -> None:
        if not stage.earlier:
            return
        order = torch.rand(len(stating), generator=self.generator) + stating
        chosen = order.topk(min(_KEPT_ROWS, len(order))).indices.sort().values.to(self.model.device)
        self.earlier.append([layer.detach()[chosen] for layer in rows])
        del self.earlier[: -stage.earlier]


def _places(mask: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Where a mask on the CPU is true, as indices on a device: a mask there would be waited for."""
    return tuple(part.to(device) for part in mask.nonzero(as_tuple=True))


def _read_pass(model: MPlus, ids: Tensor, prefix: PoolPrefix) -> Tensor:
    """[Q, t, d] after the final norm; padding stands on the right, where nothing looks at it."""
    session = GroupedReadSession(model.backbone, prefix)
    with running(model.backbone, session, model.backbone.adapters.reading):
        hidden: Tensor = model.backbone.decoder(input_ids=ids, use_cache=False).last_hidden_state
    return hidden
