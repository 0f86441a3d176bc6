"""The public names, and what it costs to load them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import resenc_plans
from tests.loaded_modules import modules_after

API_PAGE = Path(__file__).parent.parent / "docs" / "api.md"


def test_the_page_of_the_interface_lists_every_public_name() -> None:
    """`docs/api.md` freezes the names: one row each, changed on purpose or not at all."""
    rows = re.findall(r"^\| `(\w+)[`(]", API_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(["__version__", *rows]) == sorted(resenc_plans.__all__)


@pytest.mark.parametrize("name", resenc_plans.__all__)
def test_a_public_name_loads(name: str) -> None:
    assert getattr(resenc_plans, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(resenc_plans, "nonsense")


def test_help_loads_nothing_that_computes() -> None:
    loaded = modules_after("--help")
    assert not loaded & {"torch", "numpy", "scipy", "SimpleITK", "blosc2", "matplotlib"}


def test_commands_on_plans_load_no_numpy_and_no_torch(tmp_path: Path) -> None:
    from tests.plans.documents import document

    path = tmp_path / "nnUNetResEncUNetMPlans.json"
    resenc_plans.Plans.from_dict(document()).save(path)
    for command in (("show", "-p"), ("resolve", "3d_fullres", "-p"), ("validate",)):
        loaded = modules_after(*command, str(path))
        assert not loaded & {"torch", "numpy", "scipy", "SimpleITK"}, command


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, resenc_plans; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"pydantic", "numpy", "torch", "typer"}
