"""Imports go one way: the table of which package may import which."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "resenc_plans"

OPEN_TO_ALL = {"", "errors", "files", "folders"}

MAY_IMPORT = {
    "datasets": set(),
    "plans": {"datasets"},
    "cost": {"plans"},
    "planning": {"datasets", "plans", "cost"},
    "networks": {"plans", "cost"},
    "preprocessing": {"datasets", "plans"},
    "training": {"datasets", "plans", "networks", "preprocessing"},
    "inference": {"datasets", "plans", "networks", "preprocessing"},
    "evaluation": {"datasets", "plans", "networks", "preprocessing", "inference"},
    "cli": {
        "datasets", "plans", "cost", "planning", "networks", "preprocessing", "training",
        "inference", "evaluation",
    },
}  # fmt: skip


def imported_packages(path: Path) -> set[str]:
    """The packages of ours that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "resenc_plans":
                found.add(rest.partition(".")[0])
    return found


@pytest.mark.parametrize(
    "package", sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file())
)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | OPEN_TO_ALL | {package}
    for path in sorted((SOURCE / package).rglob("*.py")):
        assert imported_packages(path) <= allowed, path


def test_what_is_open_to_all_imports_no_package() -> None:
    for name in ("errors", "files", "folders"):
        assert imported_packages(SOURCE / f"{name}.py") <= OPEN_TO_ALL


def test_modules_are_short_enough_to_read() -> None:
    long = {
        str(path.relative_to(SOURCE)): lines
        for path in SOURCE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
