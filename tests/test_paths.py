"""Nothing is written outside of the folder that was named: no path is made past `part_of_path`.

The syntax tree of every module is searched for what joins paths. The last part of each must be a
literal, a constant that is one, the result of `part_of_path`, or an entry of `EXCEPTIONS`, which
says why. What a join cannot show, links, is tested where files are written (`files.inside`).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "resenc_plans"

JOINING_METHODS = {"joinpath", "with_name", "with_stem", "with_suffix", "with_segments"}
OPENING_CALLS = {"open", "replace_file", "write_json", "read_json"}
PATH_CLASSES = {"Path", "PurePath", "PurePosixPath", "PureWindowsPath"}
PATH_RESULTS = {"absolute", "expanduser", "parent", "resolve", "with_name", "with_suffix"}

NUMBERS = "numbers, not paths"
LISTED = "the name of a file that is in that very folder"
READ = "is only read, from where the user or the dataset.json says"
OURS = "a literal, or made of literals, in that function"
CHECKED = "has been checked where it was read"

EXCEPTIONS: dict[str, dict[str, str]] = {
    "cli/scope.py": {
        "path_of_plans: Path(f'{plans}.json')": READ,
        "output_of: output / own.name": "the name of the plans' file, in a folder that was named",
    },
    "datasets/conversion.py": {
        "_read_description: source / folder": OURS,
        "_refuse_unlabelled: source / part": OURS,
        "convert_msd: new / folder": OURS,
        "convert_msd: source / folder": OURS,
        "convert_old_dataset: new / folder": OURS,
        "convert_old_dataset: source / folder": OURS,
    },
    "datasets/dataset.py": {
        "_cases_in_folders: self.folder / IMAGES / file": LISTED,
        "_cases_in_folders: self.folder / LABELS / (name + ending)": READ,
        "_expand: self.folder.absolute() / os.path.expandvars(path)": READ,
    },
    "datasets/demo.py": {
        "write_phantom: new / 'imagesTr' / f'{case}_{channel:04d}.nii.gz'": OURS,
        "write_phantom: new / 'labelsTr' / f'{case}.nii.gz'": OURS,
        "write_phantom: new / name": OURS,
    },
    "datasets/images/plain_images.py": {
        "_stack_spacing: path.with_name(f'{stem}.json')": READ,
    },
    "datasets/images/segmentation_files.py": {
        "npz_of: path.parent / f\"{name[:name.rindex('.')]}.npz\"": "another ending for that file",
        "write_segmentation: staging / path.name": "the file itself, in a new folder",
        "write_segmentation: path.parent / file.name": "a file that was written to that new folder",
    },
    "datasets/integrity.py": {"_about_files: dataset.folder / LABELS / file": LISTED},
    "evaluation/cross_validation.py": {
        "_copy_descriptions: model.folder / name": OURS,
        "_validation_files: folder / name": LISTED,
    },
    "evaluation/evaluate.py": {
        "evaluate_case: os.path.join(predictions, name)": READ,
        "evaluate_case: os.path.join(references, name)": READ,
    },
    "evaluation/postprocessing/postprocess.py": {
        "apply: Path(predictions) / name": LISTED,
        "apply: folder / name": "the name of a file of the input folder",
        "apply_postprocessing: folder / name": "the name of a file of the input folder",
        "load: os.path.join(predictions, name)": LISTED,
        "load: os.path.join(references, name)": READ,
    },
    "evaluation/selection.py": {
        "find_references: root / dataset_name": READ,
        "find_references: root / dataset_name / name": READ,
    },
    "evaluation/summary.py": {
        "moved_to: os.path.join(folder, case.name)": "a text in summary.json; nothing is opened",
    },
    "evaluation/pairs.py": {"of_case: os.path.join(folder, name)": READ},
    "evaluation/task.py": {"find_task: Path(predictions) / first": LISTED},
    "execution/cgroups.py": {
        "_upward: root / group": "the kernel's names, only read",
        "group_folders: cgroup / controller": "the kernel's names, only read",
    },
    "execution/memory.py": {
        "_free_in_group: folder / limit_file": "the kernel's names, only read",
        "_free_in_group: folder / usage_file": "the kernel's names, only read",
    },
    "folders.py": {"find_dataset_folder: root / dataset": "`fault_of_part` has found no fault"},
    "execution/unfinished.py": {
        "_settle: holder.parent / entry.name": "the name of what was there before",
        "_unfinished: folder / _new_name(ending)": "hexadecimal digits",
        "moved_aside: holder / target.name": "the thing itself, in a new folder",
    },
    "inference/export/npz_stream.py": {
        "__init__: self._archive.open(f'{key}.npy')": "an entry of an archive",
        "write_npz: archive.open(f'{key}.npy', 'w', force_zip64=True)": "an entry of an archive",
    },
    "inference/folder.py": {
        "predict_folder: task.output / f'.part_{number}_of_{parts}.lock'": "made of two numbers"
    },
    "inference/input_cases.py": {"find_cases: folder / file": LISTED},
    "planning/moving.py": {"_spacing_findings: new / old": NUMBERS},
    "preprocessing/resampling/resample.py": {"resampled_shape: old / new": NUMBERS},
    "preprocessing/resampling/spline.py": {"zoomed: new / old": NUMBERS},
    "preprocessing/store/check.py": {"check_stored_case: store.folder / record.path": CHECKED},
    "preprocessing/store/folder.py": {"open_for_writing: folder / path": OURS},
    "preprocessing/store/manifest.py": {"is_fresh: folder / record.path": CHECKED},
    "runs/archive.py": {
        "_existing: folder / name": OURS,
        "_install: results / part.relative_to(unpacked)": CHECKED,
        "_install: results / part.relative_to(unpacked).parts[0]": CHECKED,
        "_keep_others: new / path.relative_to(old)": LISTED,
        "_model_files: folder / name": OURS,
        "_unpack: target / path": CHECKED,
        "import_model: results / model": CHECKED,
    },
    "runs/find_model.py": {"find_dataset_results: root / matches[0]": LISTED},
    "runs/trained_model.py": {"load: folder / name": OURS},
    "study/patients.py": {"patients_file: root / user_path(patients)": READ},
    "study/unattended/methods.py": {
        "folder_of: root / user_path(text.replace(_DATASET, dataset))": READ,
    },
    "study/unattended/pieces.py": {
        "_prediction: folder.validation / name": OURS,
        "_training: folder.path / name": OURS,
    },
    "study/unattended/study_data.py": {
        "load: places.root / described.dataset": READ,
        "splits: self.places.root / user_path(self.described.splits)": READ,
    },
    "study/unattended/take_over.py": {
        "_copy_files: folder / path.relative_to(source.path)": LISTED,
        "_copy_files: source.model / name": OURS,
        "_copy_files: source.path / name": OURS,
        "_copy_files: source.validation / name": OURS,
        "_copy_files: target.model / name": OURS,
        "_record: target.path / name": OURS,
    },
    "study/unattended/verification.py": {
        "_inputs: root / path": READ,
        "_made_again: folder / path.relative_to(new)": READ,
        "_fault_inside: root / path": "is only read, and only inside of the study's folder",
    },
    "visualization/overlay.py": {
        """_image_of: Path(images) / f'{case}_0000{segmentation.name.removeprefix(case)}'""": READ,
        "draw: Path(references) / file.name": READ,
    },
}
"""By module, then as `function: join`: why it stays inside of its folder, or only reads."""


def modules() -> dict[str, ast.Module]:
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }


MODULES = modules()


def bound_names(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def literal_constants() -> set[str]:
    """Names in capitals that hold a text, or texts, that can be read in the source."""
    names = set()
    for tree in MODULES.values():
        for node in tree.body:
            if isinstance(node, ast.Assign) and _is_literal(node.value):
                names |= {name for target in node.targets for name in bound_names(target)}
    return {name for name in names if name.isupper()}


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return all(map(_is_literal, node.elts))
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != ".."


def names_of_paths() -> set[str]:
    """Every name that is annotated as a path somewhere: parameters, fields, what functions return.

    To which are added the variables to which a path is assigned, until no more are found.
    """
    names = set(PATH_RESULTS)
    nodes = [node for tree in MODULES.values() for node in ast.walk(tree)]
    for node in nodes:
        match node:
            case ast.arg(arg=name, annotation=annotation) if _mentions_path(annotation):
                names.add(name)
            case ast.AnnAssign(target=target, annotation=annotation) if _mentions_path(annotation):
                names.update(bound_names(target))
            case ast.FunctionDef(name=name, returns=annotation) if _mentions_path(annotation):
                names.add(name)
    while True:
        more = {
            name
            for node in nodes
            if isinstance(node, ast.Assign) and is_path(node.value, names)
            for target in node.targets
            if isinstance(target, ast.Name)
            for name in bound_names(target)
        }
        if more <= names:
            return names
        names |= more


def _mentions_path(annotation: ast.expr | None) -> bool:
    return annotation is not None and "Path" in ast.unparse(annotation)


def is_path(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression is a path, judged by its last name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
        case ast.Call(func=function):
            return is_path(function, names) or last_name(function) in PATH_CLASSES
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return is_path(left, names) or is_text(right)
        case ast.Subscript(value=value):
            return is_path(value, names)
    return False


LITERALS = literal_constants()


def last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def is_text(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.JoinedStr)
        or _is_literal(node)
        or last_name(node) in LITERALS
        or last_name(getattr(node, "func", node)) == "part_of_path"
    )


def is_safe(node: ast.expr) -> bool:
    """Whether a part of a path can be read in the source, or has been checked."""
    match node:
        case ast.JoinedStr(values=values):
            return all(
                is_safe(part.value) if isinstance(part, ast.FormattedValue) else _is_literal(part)
                for part in values
            )
        case ast.Call(func=function):
            return last_name(function) in ("part_of_path", "token_hex")
        case ast.Name() | ast.Attribute():
            return last_name(node) in LITERALS
    return _is_literal(node)


PATH_NAMES = names_of_paths()


def unsafe_joins(node: ast.AST, function: str = "") -> Iterator[str]:
    """Every join of paths whose last part is not safe, as `function: join`."""
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.FunctionDef) else function
        yield from unsafe_joins(child, inner)
        if is_unsafe(child):
            yield f"{function}: {ast.unparse(child)}"


def is_unsafe(node: ast.AST) -> bool:
    """Whether a node joins paths, and its last part is not safe."""
    match node:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return (is_path(left, PATH_NAMES) or is_text(right)) and not is_safe(right)
        case ast.Call(func=function, args=[first, *others]):
            name = last_name(function)
            if name in JOINING_METHODS or ast.unparse(function) == "os.path.join":
                return not all(map(is_safe, [first, *others]))
            if name in PATH_CLASSES and others:
                return True
            is_made = isinstance(first, ast.JoinedStr | ast.BinOp)
            is_made = is_made and not is_path(first, PATH_NAMES) and not is_safe(first)
            return is_made and name in PATH_CLASSES | OPENING_CALLS
    return False


@pytest.mark.parametrize("module", MODULES)
def test_what_becomes_a_part_of_a_path_has_been_checked(module: str) -> None:
    unsafe = set(unsafe_joins(MODULES[module]))
    assert sorted(unsafe - EXCEPTIONS.get(module, {}).keys()) == []


def test_every_exception_is_still_needed() -> None:
    for module, joins in EXCEPTIONS.items():
        assert sorted(joins.keys() - set(unsafe_joins(MODULES[module]))) == [], module


@pytest.mark.parametrize(
    "source",
    [
        "folder / name",
        "folder / f'{case}.png'",
        "folder / (name + '.pkl')",
        "folder / '..'",
        "folder.parent.joinpath(name)",
        "path.with_name(name)",
        "os.path.join(folder, name)",
        "Path(folder, name)",
        "Path(f'{name}.json')",
        "replace_file(f'{folder}/{name}')",
    ],
)
def test_a_join_that_has_not_been_checked_is_found(source: str) -> None:
    assert list(unsafe_joins(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "folder / 'plans.json'",
        "folder / PLANS_JSON",
        "folder / part_of_path(name, 'case', ending='.pkl')",
        "path.with_name(f'.{secrets.token_hex(8)}.tmp')",
        "patch / 2",
        "size / spacing",
    ],
)
def test_what_has_been_checked_or_is_no_path_is_left_alone(source: str) -> None:
    assert not list(unsafe_joins(ast.parse(source)))
