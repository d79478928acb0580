import io

from rich.console import Console

from memplus.cli.training_bar import training_bar
from memplus.training.engine.loop import Progress


def progress(step: int, steps: int = 50) -> Progress:
    figures = {"loss": 2.5, "loss.revisit": 1.25, "recall.3": 0.5}
    return Progress(step, steps, "revisit", 1234.0, 3723.0, figures)


def drawn(*, terminal: bool, steps: int) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with training_bar(console) as report:
        for step in range(1, steps + 1):
            report(progress(step))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left() -> None:
    text = drawn(terminal=True, steps=3)
    for part in ("revisit", "3/50", "loss 2.500", "1,234 tokens/s", "1:02:03 left"):
        assert part in text


def test_elsewhere_a_line_now_and_then_without_figures_of_single_layers() -> None:
    lines = drawn(terminal=False, steps=50).splitlines()
    assert [line.split()[0] for line in lines] == ["25/50", "50/50"]
    assert "loss 2.500, loss.revisit 1.250; 1,234 tokens/s, 62 min left" in lines[0]
    assert "recall" not in lines[0]
