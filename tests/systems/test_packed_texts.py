from pathlib import Path

import pytest
import torch

from memplus.errors import CorruptMemoryError
from memplus.systems.packed_texts import pack_texts, packed_bytes, unpack_texts

PATH = Path("s")


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "größer", "\n", "half \udc80"], ["x" * 300]])
def test_texts_are_unpacked_as_they_were_and_counted(texts: list[str]) -> None:
    packed = pack_texts(texts)
    assert unpack_texts(packed, PATH) == texts
    assert packed_bytes(texts) == sum(one.nbytes for one in packed.values())


def test_what_does_not_add_up_is_refused() -> None:
    packed = pack_texts(["grün", "b"])
    for lengths in ([4], [4, 2], [6, -1]):
        wrong = packed | {"lengths": torch.tensor(lengths, dtype=torch.int32)}
        with pytest.raises(CorruptMemoryError, match="do not add up"):
            unpack_texts(wrong, PATH)
    with pytest.raises(CorruptMemoryError, match="UTF-8"):
        unpack_texts(packed | {"text": torch.tensor([255], dtype=torch.uint8)}, PATH)
    with pytest.raises(CorruptMemoryError, match="lengths is missing"):
        unpack_texts({"text": packed["text"]}, PATH)
