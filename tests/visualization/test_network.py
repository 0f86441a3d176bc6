import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.visualization.network import draw_network
from tests.networks.configurations import plain, residual


@pytest.mark.parametrize("make", [plain, residual])
def test_a_drawing_shows_features_and_shapes(
    make: Callable[[], ResolvedConfiguration], tmp_path: Path
) -> None:
    draw_network(make(), 1, 3, tmp_path / "net.svg")
    text = (tmp_path / "net.svg").read_text().replace("\N{MULTIPLICATION SIGN}", "x")
    assert all(f"<!-- {label} -->" in text for label in ("16x16x16", "4x4x4", "8", "3 outputs"))
    assert ("<!-- stem: one convolution -->" in text) == (make is residual)


def test_a_drawing_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw_network(residual(2), 1, 3, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_png_is_written_too(tmp_path: Path) -> None:
    draw_network(residual(), 4, 3, tmp_path / "net.PNG")
    assert (tmp_path / "net.PNG").read_bytes().startswith(b"\x89PNG")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"net\.pdf: a drawing is written as svg or png"):
        draw_network(residual(), 1, 3, tmp_path / "net.pdf")


def test_drawing_needs_no_torch() -> None:
    code = "import sys, resenc_plans.visualization.network; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
