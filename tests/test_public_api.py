"""The public names, and what it costs to load them."""

import subprocess
import sys
from pathlib import Path

import resenc_plans


def test_the_public_names_are_these_and_load() -> None:
    assert sorted(resenc_plans.__all__) == [
        "Configuration",
        "ConfigurationError",
        "Cost",
        "Dataset",
        "DatasetError",
        "DatasetJson",
        "FileError",
        "Finding",
        "Fingerprint",
        "FingerprintError",
        "InheritanceError",
        "IntensityProperties",
        "OtherArchitecture",
        "PlainConvUNetArchitecture",
        "PlanningError",
        "Plans",
        "PlansDiff",
        "PlansError",
        "PredictionSettings",
        "Predictor",
        "Preprocessor",
        "Preset",
        "ResamplingSettings",
        "ResencPlansError",
        "ResidualEncoderUNetArchitecture",
        "ResolvedConfiguration",
        "Summary",
        "Trainer",
        "TrainingSettings",
        "__version__",
        "build_network",
        "create_plans",
        "draw_overlay",
        "estimate_cost",
        "evaluate_folder",
        "export_model",
        "find_model",
        "import_model",
        "predict_folder",
        "register_architecture",
        "register_preset",
    ]
    for name in resenc_plans.__all__:
        assert getattr(resenc_plans, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(resenc_plans, "nonsense")


def modules_after(*arguments: str) -> set[str]:
    code = (
        "import sys\n"
        f"sys.argv = ['resenc-plans', *{list(arguments)!r}]\n"
        "from resenc_plans.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES ")[2].split())


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
