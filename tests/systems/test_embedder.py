import json
import subprocess
import sys

import pytest
import torch

from memplus.errors import LibraryMissingError
from memplus.systems import embedder as module
from memplus.systems.embedder import WIDTH, embedder, embedder_folder, embedder_name

pytest.importorskip("wordllama", reason="an optional library that the dev requirements bring")

TEXTS = ["Who slept all day?", "The keeper was asleep.", "a", "größer 7 m²", "x " * 300]
ITS_OWN = """
import json, sys
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from wordllama import WordLlamaInference
weights, tokenizer, texts = sys.argv[1:]
its = WordLlamaInference(load_file(weights)["embedding.weight"], Tokenizer.from_file(tokenizer))
print(json.dumps(its.embed(json.loads(texts), norm=True).tolist()))
"""


def test_vectors_are_those_of_the_library_itself() -> None:
    folder = embedder_folder()
    assert folder is not None
    files = [str(folder / name) for name in (module._WEIGHTS, module._TOKENIZER)]
    given = [sys.executable, "-c", ITS_OWN, *files, json.dumps(TEXTS)]
    out = subprocess.run(given, capture_output=True, text=True, check=True).stdout
    assert torch.allclose(embedder().embed(TEXTS), torch.tensor(json.loads(out)), atol=1e-5)


def test_a_text_has_a_unit_vector_and_nothing_has_none() -> None:
    found = embedder().embed([*TEXTS, ""])
    assert found.shape == (len(TEXTS) + 1, WIDTH)
    assert torch.allclose(found.norm(dim=1), torch.tensor([1.0] * len(TEXTS) + [0.0]))
    assert embedder().embed([]).shape == (0, WIDTH)
    assert torch.allclose(found[1], embedder().embed(TEXTS[1:2])[0], atol=1e-6)


def test_what_means_the_same_is_nearer() -> None:
    asked, right, wrong = embedder().embed(["Who was asleep?", TEXTS[1], "A boat in a harbour."])
    assert asked @ right > asked @ wrong


def test_without_the_library_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedder_name().startswith("wordllama ")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(LibraryMissingError, match=r"memplus\[embeddings\]"):
        embedder_name()
    embedder.cache_clear()
    with pytest.raises(LibraryMissingError):
        embedder()


def test_the_library_is_not_imported_for_its_files() -> None:
    code = "import sys; from memplus.systems.embedder import embedder; embedder(); "
    code += "print('wordllama' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
