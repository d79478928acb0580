"""What a training learns from, counted without training: texts and questions, by its config alone.

    python benchmarks/learned_from.py configs/smollm2/stage1.yaml configs/smollm2/stage3.yaml

Every pass of the run is drawn as the run draws it, and counted as a run counts it in its
`record.json`: tokens told or read as running text, questions, and the tokens of questions with
their answers. No model runs, so this also tells of runs whose releases did not count. It is the
config with today's code and data; an older release may have worded what it made by rule otherwise.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch

from memplus import MPlus
from memplus.errors import ConfigError
from memplus.training.tasks.learned_from import QUESTION_TOKENS, LearnedFrom
from memplus.training.tasks.task_plan import Planner
from memplus.training.text.batch_texts import BatchTexts
from memplus.training.text.order import DocumentOrder
from memplus.training.text.run_config import TrainingConfig, load_config
from memplus.training.text.starting import with_memory
from memplus.training.text.text_cache import load_documents


def counted(config: TrainingConfig, model: MPlus) -> Counter[str]:
    """What the run of a config learns from.

    Args:
        config: of tasks that choose their texts themselves.
        model: whose tokenizer and prompt spell the texts.

    Raises:
        ConfigError: a task waits for a kept target, which only a run has.
    """
    for task in config.tasks:
        if task.needs_kept:
            reason = "it asks for targets that only a run keeps"
            raise ConfigError("tasks", value=task.label, reason=reason)
    run, memory = config.run, config.memory
    order = DocumentOrder(load_documents(config.data, model.tokenizer, None), run.seed)
    remembered = run.stored_rows + memory.short_term_tokens
    texts = BatchTexts(order, range(run.documents), run.documents, model, config.tasks, remembered)
    planner = Planner(config.tasks, memory, run.seed, config.retriever.random_query)
    found = LearnedFrom(run.documents)
    for step in range(run.steps):
        for part in range(run.accumulate):
            texts.before.expire(texts.clock)
            plan = planner.draw(step, part, order.documents.longest, kept=False)
            job = plan.task.job(plan, texts)
            chunks, size = job.chunks.shape[1:]
            tokens = 0 if job.asked is None else job.asked.tokens / run.documents
            text = chunks * size + job.ids.shape[1]
            found.add(text, job.asked, run.documents, {QUESTION_TOKENS: tokens})
            if not job.aside:
                texts.clock += chunks * memory.rows_of_write(size)
    return Counter(found.counts)


def main() -> None:
    """Print what each config's run learns from, and all of them together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", type=Path, help="of trainings on running text")
    parser.add_argument("--model", default="smollm2", help="spells the texts [smollm2]")
    arguments = parser.parse_args()
    stock, total = MPlus.from_pretrained(arguments.model, dtype=torch.bfloat16), Counter[str]()
    for path in arguments.configs:
        config = load_config(path)
        found = counted(config, with_memory(stock, config.memory))
        total += found
        print(json.dumps({"config": str(path), **found}), flush=True)
    print(json.dumps({"config": "all", **total}))


if __name__ == "__main__":
    main()
