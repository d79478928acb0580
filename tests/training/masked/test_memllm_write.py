from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.fakes import make_tokenizer
from tests.training.masked.settings import PROSE
from tests.training.masked.test_memllm_documents import write_files

from memplus.errors import ConfigError
from memplus.systems.memllm.grammar import END, START, parse_write
from memplus.training.masked.example import Example
from memplus.training.masked.memllm_write import MemLLMWrites, plain_sentences, shortened
from memplus.training.masked.packing import IGNORED, encode_example


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "a.txt").write_text(PROSE)
    (folder / "b.txt").write_text(PROSE)
    files = write_files(folder)
    maker = MemLLMWrites(texts=(str(folder / "*.txt"),), **files).maker()
    return [maker.make(index, Random(f"seed {index}")) for index in range(400)]


def learned(example: Example) -> str:
    return "".join(piece.text for piece in example.pieces if piece.learned)


def test_the_shares_are_those_of_the_config(examples: list[Example]) -> None:
    counts = Counter(one.label for one in examples)
    assert 0.18 < counts["nothing"] / 400 < 0.32
    assert counts["fact"] > counts["article"] > counts["story"] > 20


def test_the_call_is_learned_and_nothing_else(examples: list[Example]) -> None:
    tokenizer = make_tokenizer()
    for one in examples:
        given, *call = one.pieces
        assert not given.learned
        assert all(piece.learned for piece in call)
        assert learned(one).startswith(START + "MEM_WRITE-->")
        assert learned(one).endswith(END)
        assert one.ends
        encoded = encode_example(one, tokenizer)
        count = len(given.text.encode())
        assert encoded.labels[:count] == [IGNORED] * count
        assert encoded.labels[count:] == encoded.ids[count:]


def test_what_is_written_stands_in_what_is_given(examples: list[Example]) -> None:
    said = 0
    for one in examples:
        triples = parse_write(learned(one))
        said += len(triples)
        assert not (one.label == "nothing" and triples)
        for triple in triples:
            assert triple.object in one.pieces[0].text
    assert said > 250


def test_the_sentence_stands_between_its_signs_behind_whole_ones(examples: list[Example]) -> None:
    for one in examples:
        text = one.pieces[0].text
        assert text.count("({USER_ST})") == text.count("({USER_END})") == 1
        assert text.endswith("({USER_END})")
        assert len(text.partition("({USER_ST})")[0]) <= 240


def test_of_a_long_text_whole_sentences_are_kept() -> None:
    assert shortened("One is. Two is. Three is. ", 19) == "Two is. Three is. "
    assert shortened("One is. Two is. ", 99) == "One is. Two is. "
    assert shortened("A very long sentence.", 5) == ""


def test_every_tenth_text_is_held_out(tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / f"{number:02d}.txt").write_text(f"Text {number} is. It ends.")
    patterns = [str(tmp_path / "*.txt")]
    held = plain_sentences(patterns, held_out=True)
    assert held == ("Text 0 is.", "It ends.", "Text 10 is.", "It ends.")
    assert not set(held[::2]) & set(plain_sentences(patterns))
    with pytest.raises(ConfigError, match="texts"):
        plain_sentences([str(tmp_path / "*.no")])


@pytest.mark.parametrize(
    "wrong", [{"nothing": 2.0}, {"made_up": 0.9, "told": 0.2}, {"before": -1}, {"weight": 0.0}]
)
def test_shares_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        MemLLMWrites(**wrong)  # type: ignore[arg-type]
