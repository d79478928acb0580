"""A tiny random Llama as a GGUF file, whole and in wheels, and a registry entry for it."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers

from memplus.mplus.bases import Base, Packages

WIDTH, FEED, LAYERS, HEADS, GROUPS = 64, 96, 3, 4, 2
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}{% endfor %}"
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_TOKENS = [*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe"]
_MERGES = ["Ġ t", "h e", "Ġt he"]
_PADDING = 320 - len(_TOKENS)
SIZE = 320
PARAMETERS = (
    SIZE * WIDTH
    + WIDTH
    + LAYERS
    * (2 * WIDTH + 3 * WIDTH * FEED + 2 * WIDTH * WIDTH + 2 * WIDTH * WIDTH * GROUPS // HEADS)
)


def write_gguf(path: Path, *, seed: int = 0, head: bool = False, without: str = "") -> None:
    """Weights in 8 bits, norms in float32, a tokenizer of bytes and a chat template.

    Args:
        path: of the file.
        seed: of its weights.
        head: whether it has an output weight of its own.
        without: name of a tensor that it lacks.
    """
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    _write_sizes(writer)
    _write_tokenizer(writer)

    def add(name: str, *shape: int) -> None:
        numbers = random.normal(0, 0.2, shape).astype(np.float32)
        if name == without:
            return
        if len(shape) == 1:
            writer.add_tensor(name, 1 + numbers)
            return
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quantize(numbers, kind), raw_dtype=kind)

    add("token_embd.weight", SIZE, WIDTH)
    add("output_norm.weight", WIDTH)
    if head:
        add("output.weight", SIZE, WIDTH)
    narrow = WIDTH * GROUPS // HEADS
    for layer in range(LAYERS):
        stem = f"blk.{layer}"
        add(f"{stem}.attn_norm.weight", WIDTH)
        add(f"{stem}.ffn_norm.weight", WIDTH)
        for name, rows in (("q", WIDTH), ("k", narrow), ("v", narrow), ("output", WIDTH)):
            add(f"{stem}.attn_{name}.weight", rows, WIDTH)
        add(f"{stem}.ffn_gate.weight", FEED, WIDTH)
        add(f"{stem}.ffn_up.weight", FEED, WIDTH)
        add(f"{stem}.ffn_down.weight", WIDTH, FEED)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(SIZE)


def _write_tokenizer(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*_TOKENS, *(f"<|pad{n}|>" for n in range(_PADDING))])
    writer.add_token_types([3] * len(_SPECIAL) + [1] * (SIZE - len(_SPECIAL)))
    writer.add_token_merges(_MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def entry_for(path: Path, *, parts: int = 1, head: bool = False) -> Base:
    """The registry's entry for a file; its packages are called ``tiny-base[-partN]``."""
    content = path.read_bytes()
    divided = parts > 1
    return Base(
        name="tiny",
        purpose="for tests",
        model="nobody/tiny",
        parameters=PARAMETERS + (SIZE * WIDTH if head else 0),
        licence="Apache-2.0",
        chat_template="chatml",
        hub="nobody/tiny-GGUF",
        file=path.name,
        nbytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        packages=Packages(
            name="tiny-base-part{part}" if divided else "tiny-base",
            version="0.3.0",
            parts=parts,
            member="*/data/part*.bin" if divided else f"*/{path.name}",
        ),
    )


def of_other_content(base: Base) -> Base:
    """The same entry, of a file that differs."""
    return replace(base, sha256="0" * 64)


def write_wheels(base: Base, gguf_file: Path, folder: Path) -> list[Path]:
    """Wheels that pip accepts, which carry a file as the entry says; in order."""
    content = gguf_file.read_bytes()
    length = -(-len(content) // base.packages.parts)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for index, name in enumerate(base.packages.named()):
        module, version = name.replace("-", "_"), base.packages.version
        data = content[index * length : (index + 1) * length]
        inner = gguf_file.name if base.packages.parts == 1 else f"data/part{index + 1:02d}.bin"
        info = f"{module}-{version}.dist-info"
        made.append(folder / f"{module}-{version}-py3-none-any.whl")
        with zipfile.ZipFile(made[-1], "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(f"{module}/__init__.py", "raise SystemExit('never imported')\n")
            wheel.writestr(f"{module}/{inner}", data)
            meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            # What it depends on must not be looked for.
            wheel.writestr(f"{info}/METADATA", f"{meta}Requires-Dist: no-such-package-at-all\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    return made
