from memplus.systems.triples.rows import Origin, Row, Triple


def test_a_row_was_written_last_by_the_newest_of_its_origins() -> None:
    origins = (Origin("a", 2, 0, 5), Origin("b", 7, 5, 9))
    assert Row(1, Triple("Ada", "born in", "Brell"), origins).written == 7
