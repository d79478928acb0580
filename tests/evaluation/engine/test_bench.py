from memplus.evaluation.engine.bench import Bench


def test_questions_fall_where_nothing_waits_in_any_system(bench: Bench) -> None:
    assert bench.chunk == 6
    assert Bench(bench.systems[2:], bench.reference).chunk == 1
