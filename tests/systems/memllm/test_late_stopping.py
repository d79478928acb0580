import json

import pytest
import torch
from tests.systems.golden import golden_folder
from torch import Tensor

from memplus.errors import ConfigError
from memplus.systems.memllm.late_stopping import LateStopping

STOP = 5


def run(late: LateStopping, steps: Tensor) -> LateStopping:
    for logits in steps:
        if late.choose(logits) == late.stop:
            break
    return late


def test_golden_marks_and_cuts_of_the_published_rule() -> None:
    cases = json.loads((golden_folder("memllm") / "late_stopping.json").read_text())
    for case in cases:
        given = case["prompt_tokens"]
        late = LateStopping(case["stop_token"], given, case["patience"], "whole")
        run(late, torch.tensor(case["logits"]))
        assert late.tokens == case["tokens"]
        assert late.kept == case["kept"]
        assert given + len(late.kept) == case["cut_length"]
        marks = {str(given + place): score for place, score in late.marks.items()}
        assert marks == pytest.approx(case["marks"], abs=1e-5)


def ending(*likely: tuple[int, int]) -> Tensor:
    """[steps, 6] logits: the best token of each step, and the second best."""
    made = torch.zeros(len(likely), 6)
    for step, (first, second) in enumerate(likely):
        made[step, first], made[step, second] = 4, 3
    return made


def test_a_call_goes_on_with_the_second_best_token_until_marks_get_no_better() -> None:
    steps = ending((1, 2), (STOP, 2), (3, 1), (STOP, 4), (STOP, 0), (2, 0))
    late = run(LateStopping(STOP, 3, patience=2), steps)
    assert late.tokens == [1, 2, 3, 4, STOP]
    assert sorted(late.marks) == [1, 3]
    assert late.kept == late.tokens[: max(late.marks, key=lambda place: late.marks[place])]


def test_the_published_divisor_prefers_to_cut_at_once() -> None:
    sure = ending((1, 0), (STOP, 2), (3, 0), (4, 0), (0, 1), (STOP, 1))
    sure[1, 2] = 3.9
    sure[[0, 2, 3, 4, 5]] *= 4
    assert run(LateStopping(STOP, 500, divisor="whole"), sure).kept == [1]
    assert run(LateStopping(STOP, 500, divisor="generated"), sure).kept == [1, 2, 3, 4, 0]


def test_without_a_mark_all_of_it_is_kept() -> None:
    assert run(LateStopping(STOP, 3), ending((1, 0), (2, 0))).kept == [1, 2]


def test_no_patience_is_refused() -> None:
    with pytest.raises(ConfigError, match="patience"):
        LateStopping(STOP, 3, patience=0)


def test_where_no_later_mark_can_be_better_going_on_changes_nothing() -> None:
    for seed in range(60):
        steps = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed)) * 3
        steps[:, STOP] += 2
        for divisor in ("generated", "whole"):
            whole = run(LateStopping(STOP, 3, divisor=divisor), steps)  # type: ignore[arg-type]
            early = LateStopping(STOP, 3, divisor=divisor)  # type: ignore[arg-type]
            for logits in steps:
                if early.settled(30) or early.choose(logits) == STOP:
                    break
            assert early.kept == whole.kept
            assert len(early.tokens) <= len(whole.tokens)
