"""The public names, and what it costs to load them."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import resenc_plans
from tests.loaded_modules import modules_after
from tests.plans.documents import document

API_PAGE = Path(__file__).parent.parent / "docs" / "api.md"


def test_the_page_of_the_interface_lists_every_public_name() -> None:
    """`docs/api.md` freezes the names: one row each, changed on purpose or not at all."""
    rows = re.findall(r"^\| `(\w+)[`(]", API_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(["__version__", *rows]) == sorted(resenc_plans.__all__)


@pytest.mark.parametrize("name", resenc_plans.__all__)
def test_a_public_name_loads(name: str) -> None:
    assert getattr(resenc_plans, name) is not None


CALLS: dict[str, Callable[[Any, Any], object]] = {
    "build_network": lambda config, _: resenc_plans.build_network(config, 1, 3),
    "estimate_cost": lambda config, _: resenc_plans.estimate_cost(config, 1, 3),
    "trace_cost": lambda config, _: resenc_plans.trace_cost(config, 1, 3),
    "Preprocessor": lambda config, _: resenc_plans.Preprocessor(config),
    "Trainer": lambda config, dataset: resenc_plans.Trainer(config, dataset),
    "train_fold": lambda config, dataset: resenc_plans.train_fold(config, dataset),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_resolved_configuration_is_refused_in_words(name: str) -> None:
    plan = resenc_plans.Plans.from_dict(document())
    for wrong in ("2d", plan, plan.configurations["3d_fullres"], None):
        with pytest.raises(resenc_plans.UsageError, match="`config=` is") as caught:
            CALLS[name](wrong, None)
        expected = "resolve('2d')" if wrong == "2d" else "resolve('3d_fullres')"
        assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["Trainer", "train_fold"])
def test_what_is_no_dataset_is_refused_in_words(name: str) -> None:
    config = resenc_plans.Plans.from_dict(document()).resolve("3d_fullres")
    for wrong in ("4", 4, None):
        with pytest.raises(resenc_plans.UsageError, match=r"`dataset=` is .*Dataset\.load\("):
            CALLS[name](config, wrong)


def test_a_configuration_cannot_be_changed_and_the_message_says_what_can() -> None:
    config: Any = resenc_plans.Plans.from_dict(document()).resolve("3d_fullres")
    with pytest.raises(resenc_plans.UsageError, match=r"batch_size cannot be changed\. Derive"):
        config.batch_size = 4


@pytest.mark.parametrize("name", ["TrainingSettings", "PredictionSettings"])
def test_settings_cannot_be_changed_and_the_message_says_what_can(name: str) -> None:
    settings: Any = getattr(resenc_plans, name)()
    with pytest.raises(resenc_plans.UsageError, match=rf"cannot be changed\. Make new .* {name}\("):
        settings.precision = "fp32"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(resenc_plans, "nonsense")


def test_help_loads_nothing_that_computes() -> None:
    loaded = modules_after("--help")
    assert not loaded & {"torch", "numpy", "scipy", "SimpleITK", "blosc2", "matplotlib"}


def test_commands_on_plans_load_no_numpy_and_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "nnUNetResEncUNetMPlans.json"
    resenc_plans.Plans.from_dict(document()).save(path)
    for command in (("show", "-p"), ("resolve", "3d_fullres", "-p"), ("validate",)):
        loaded = modules_after(*command, str(path))
        assert not loaded & {"torch", "numpy", "scipy", "SimpleITK"}, command


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, resenc_plans; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"pydantic", "numpy", "torch", "typer"}
