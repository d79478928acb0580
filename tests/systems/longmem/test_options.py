import pytest

from memplus.errors import ConfigError
from memplus.systems.longmem.options import LongMemOptions


def test_the_banked_layer_lies_two_thirds_of_the_way_up() -> None:
    options = LongMemOptions()
    assert [options.layer_of(layers) for layers in (30, 24, 3)] == [20, 16, 2]
    assert LongMemOptions(reduction=2).layer_of(2) == 1
    assert LongMemOptions(memory_layer=17, reduction=2).layer_of(24) == 17


def test_r_follows_the_decoder_where_none_is_chosen() -> None:
    layers = [30, 24, 3, 4, 2, 25, 35, 7, 1]
    assert [LongMemOptions().reduction_of(one) for one in layers] == [3, 3, 3, 2, 2, 5, 5, 1, 1]
    assert LongMemOptions(reduction=2).reduction_of(30) == 2


def test_sizes_are_counted_in_chunks() -> None:
    options = LongMemOptions(chunk_tokens=2, retrieved_tokens=64, bank_tokens=100)
    assert (options.chunks, options.capacity) == (32, 50)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reduction": -1}, "reduction.*at least 0"),
        ({"chunk_tokens": 0}, "chunk_tokens"),
        ({"retrieved_tokens": 30}, "retrieved_tokens.*whole chunks of 4"),
        ({"bank_tokens": 0}, "bank_tokens"),
        ({"segment_tokens": 510}, "segment_tokens"),
        ({"memory_layer": -1}, "memory_layer"),
        ({"gate_rate": 0.0}, "gate_rate.*above 0"),
        ({"gate_rate": float("inf")}, "gate_rate.*finite"),
        ({"init": "other"}, "init.*'published', 'plain' or 'memory'"),
        ({"gate": "open"}, "gate.*'learned' or 'closed'"),
    ],
)
def test_other_values_are_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LongMemOptions(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("reduction", "layers"), [(4, 30), (7, 24)])
def test_r_divides_the_decoders_layers(reduction: int, layers: int) -> None:
    with pytest.raises(ConfigError, match=rf"must divide the decoder's {layers} layers: 1, 2, 3"):
        LongMemOptions(reduction=reduction).layer_of(layers)
