from __future__ import annotations

import pytest
from tests.training.conftest import SENTENCES, SMALL
from tokenizers import Tokenizer

from memplus.data.corpus import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer([SENTENCES * 20], SMALL.architecture.vocabulary)
