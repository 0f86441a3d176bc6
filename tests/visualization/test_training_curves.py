from dataclasses import dataclass
from pathlib import Path

from resenc_plans.visualization.training_curves import draw_curves


@dataclass(frozen=True)
class Figures:
    training_loss: float
    smoothed_dice: float
    validation_loss: float = 0.0
    dice: tuple[float, ...] = (0.0,)
    mean_dice: float = 0.0
    learning_rate: float = 0.01
    seconds: float = 1.0


def test_the_curves_of_several_runs_are_one_picture(tmp_path: Path) -> None:
    runs = {
        name: [Figures(1 - epoch / 10, epoch / 10) for epoch in range(length)]
        for name, length in (("a", 3), ("b", 5))
    }
    draw_curves(runs, tmp_path / "curves.png", "two runs")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
