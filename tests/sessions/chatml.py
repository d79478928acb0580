"""A small model with a chat template, in whose turns its memory is asked."""

from __future__ import annotations

from tests.fakes import CONFIG, make_mplus

from memplus import MemoryConfig, MPlus
from memplus.config import PromptConfig

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PREAMBLE = "<|im_start|>system\nBe kind.<|im_end|>\n"
TURN = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def chatml(config: MemoryConfig = CONFIG) -> MPlus:
    """A model whose memory reads turns of its chat template, which has a system message."""
    model = make_mplus(config=config)
    model.tokenizer.chat_template = PREAMBLE + CHATML
    model.prompt = PromptConfig(template=TURN, stop=("\n",))
    return model
