from tests.systems.conftest import SHARED
from tests.systems.memllm.tiny_weights import tiny_weights

from memplus.systems.memllm.grammar import Query
from memplus.systems.memllm.retrieval import EDITING, MEASURED, OWN
from memplus.systems.memllm.tools import MemLLMOptions, Tools
from memplus.systems.triples.rows import Triple
from memplus.systems.triples.table import TripleTable

TOOLS = Tools(SHARED, MemLLMOptions(weights=str(tiny_weights())))


def test_options_name_the_published_switches() -> None:
    assert TOOLS.options.thresholds == OWN
    assert MemLLMOptions(setting="editing").thresholds == EDITING
    assert MemLLMOptions(setting="measured").thresholds == MEASURED
    assert MemLLMOptions(late_stopping="off").divisor is None
    assert MemLLMOptions(late_stopping="whole").divisor == "whole"


def test_what_equals_a_query_is_found_alone_unless_that_is_turned_off() -> None:
    table = TripleTable(TOOLS.embed)
    table.add([Triple("gate", "is", "red"), Triple("gatf", "is", "blue")])
    asked = [Query("gate", "is", None)]
    assert list(TOOLS.look_up(table, asked)) == ["red"]
    options = MemLLMOptions(weights=str(tiny_weights()), exact_first="off", setting="editing")
    assert "red" in Tools(SHARED, options).look_up(table, asked)
