"""Imports go one way: between packages by a table, inside a package without a knot."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "resenc_plans"

OPEN_TO_ALL = {"errors", "files", "folders", "safe_pickle", "html", "reprs", "words", "execution"}
"""What every package may import; these import only each other."""

MAY_IMPORT: dict[str, set[str]] = {
    "datasets": set(),
    "plans": {"datasets"},
    "cost": {"plans"},
    "planning": {"datasets", "plans", "cost"},
    "networks": {"plans"},
    "preprocessing": {"datasets", "plans"},
    "runs": {"datasets", "plans", "networks", "preprocessing"},
    "visualization": {"datasets", "plans", "cost"},
    "training": {"datasets", "plans", "networks", "preprocessing", "runs", "visualization"},
    "inference": {"datasets", "plans", "networks", "preprocessing", "runs", "visualization"},
    "evaluation": {"datasets", "plans", "preprocessing", "runs", "inference", "visualization"},
    "profiling": {"datasets", "cost", "plans", "networks", "training"},
}
BELOW_WORKFLOWS = set(MAY_IMPORT)
MAY_IMPORT["workflows"] = BELOW_WORKFLOWS
MAY_IMPORT["study"] = BELOW_WORKFLOWS | {"workflows"}
MAY_IMPORT["explore"] = BELOW_WORKFLOWS | {"workflows"}
MAY_IMPORT["cli"] = BELOW_WORKFLOWS | {"workflows", "study", "explore"}

PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def module_name(path: Path) -> str:
    """A file's module below resenc_plans, as in `plans.checks.rules`; `` for the root itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported_modules(path: Path) -> set[str]:
    """The modules of ours that a file imports: at its top, in functions, for type checkers."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [part if _below_root(part) in MODULES else node.module for part in parts]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {_below_root(name) for name in names if name.split(".")[0] == "resenc_plans"}


def _below_root(name: str) -> str:
    return name.removeprefix("resenc_plans").removeprefix(".")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_the_table_allows(package: str) -> None:
    allowed = OPEN_TO_ALL if package in OPEN_TO_ALL else MAY_IMPORT[package] | OPEN_TO_ALL
    for name, path in MODULES.items():
        if name.partition(".")[0] == package:
            imported = {module.partition(".")[0] for module in imported_modules(path)} - {""}
            assert imported <= allowed | {package}, name


def test_what_is_open_to_all_imports_no_package() -> None:
    for name in OPEN_TO_ALL & set(MODULES):
        imported = {module.partition(".")[0] for module in imported_modules(MODULES[name])} - {""}
        assert imported <= OPEN_TO_ALL, name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_holds_no_knot(package: str) -> None:
    inside = {name for name in MODULES if name.partition(".")[0] == package}
    graph = {name: (imported_modules(MODULES[name]) & inside) - {name} for name in inside}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these modules import each other: {' -> '.join(error.args[1])}")
