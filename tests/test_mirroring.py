"""A test file is named after the module that it tests, and lies in the folder of its package."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "resenc_plans"

BEHAVIOUR_OF_SEVERAL_MODULES = {
    "cli/test_ending.py",
    "cli/test_outside.py",
    "study/report/test_drawn_page.py",
    "training/test_command.py",
    "training/test_final_validation.py",
    "training/test_missing_cases.py",
    "training/test_on_a_gpu.py",
    "training/test_on_devices.py",
    "training/test_optimizers.py",
    "training/test_own_method.py",
    "training/test_processes.py",
    "training/test_resuming_baselines.py",
    "training/test_stale_cases.py",
    "training/test_stand_in_device.py",
    "workflows/test_whole_jobs.py",
}
"""Their docstrings say what they test."""

PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
"""Other folders of tests, and the files in tests itself, are about the project as a whole."""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_test_file_is_named_after_its_module(package: str) -> None:
    for path in (TESTS / package).rglob("test_*.py"):
        name = path.relative_to(TESTS)
        module = SOURCE / name.with_name(name.name.removeprefix("test_"))
        command = module.parent / "commands" / module.name
        is_mirror = module.is_file() or command.is_file()
        assert is_mirror or name.as_posix() in BEHAVIOUR_OF_SEVERAL_MODULES, (
            f"tests/{name}: there is no module {module.relative_to(SOURCE)}. Name the file after "
            "the module that it tests, or list it here if it tests several."
        )
