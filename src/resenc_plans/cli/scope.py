"""Which dataset and which plans a command is about, from its options and the current folder."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.cli.render import note
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import DatasetError, FileError, PlansError, Remedy, UsageError
from resenc_plans.files import part_of_path
from resenc_plans.folders import (
    DATASET_JSON,
    FINGERPRINT_JSON,
    PREPROCESSED,
    RAW,
    RESULTS,
    environment_folder,
    find_any_dataset_folder,
)
from resenc_plans.plans.plans import Plans, plans_files
from resenc_plans.words import suggestion


@dataclass(frozen=True)
class Scope:
    """A dataset's two folders: the raw one, if it exists, and the one that holds its plans."""

    raw: Path | None
    preprocessed: Path

    @property
    def fingerprint(self) -> Path:
        """The file of the dataset's fingerprint, which may not exist yet."""
        return self.preprocessed / FINGERPRINT_JSON

    def dataset(self) -> Dataset:
        """The dataset; without raw data, by the copy of dataset.json beside the plans."""
        return Dataset.load(str(self.raw or self.preprocessed))


def find_scope(dataset: str | None) -> Scope:
    """The folders of the dataset that `-d` names, or that the current folder belongs to.

    Plans lie in `nnUNet_preprocessed/<dataset>` if that variable is set, else beside dataset.json.

    Raises
    ------
    DatasetError
        There is no such dataset.
    """
    root = environment_folder(PREPROCESSED)
    if dataset is None:
        raw = _enclosing_dataset(Path.cwd())
        if raw is None:
            raise DatasetError(
                f"{Path.cwd()}: has no {DATASET_JSON}, and -d is not given. "
                "Change to a dataset's folder, or name the dataset with -d."
            )
    else:
        raw = find_any_dataset_folder(dataset)
    raw = raw.resolve()
    if root is not None and raw.is_relative_to(root.resolve()):
        return Scope(_raw_twin(raw.name), relative_to_cwd(raw))
    preprocessed = raw if root is None else root.resolve() / part_of_path(raw.name, "dataset")
    return Scope(relative_to_cwd(raw), relative_to_cwd(preprocessed))


def relative_to_cwd(path: Path) -> Path:
    """`path`, relative if it lies in the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def find_plans(plans: str | None, dataset: str | None = None) -> Plans:
    """The plans that `-p` names, or the only ones in scope.

    Raises
    ------
    FileError, PlansError
        As `path_of_plans`, or the file is not one of plans.
    """
    return Plans.load(path_of_plans(plans, dataset))


def path_of_plans(plans: str | None, dataset: str | None = None) -> Path:
    """The file of the plans that `-p` names, or of the only ones in scope.

    `-p` is a path, or the name of plans in the current folder or the dataset's. Without it, the
    current folder and the folder with the plans of its dataset must hold exactly one plans file.

    Raises
    ------
    FileError
        `-p` is the path of a file that does not exist.
    PlansError
        There are no such plans, or several; the message lists them.
    """
    if plans is not None:
        for path in (Path(plans), Path(f"{plans}.json")):
            if path.is_file():
                return path
        if len(Path(plans).parts) > 1:
            raise FileError(_no_such_file(Path(plans)))
    folders = _folders(dataset)
    files = list(dict.fromkeys(path for folder in folders for path in plans_files(folder)))
    if plans is not None:
        return _file_of_name(plans, files)
    if len(files) > 1:
        paths = "\n  ".join(map(str, files))
        raise PlansError(f"Several plans files are in scope:\n  {paths}\nChoose one with --plans.")
    if not files:
        raise PlansError(
            f"No plans file in {' or '.join(str(folder.resolve()) for folder in folders)}. "
            f"Make one with `{_creation(dataset)}`, or name one with --plans."
        )
    return files[0]


def _creation(dataset: str | None) -> str:
    return shlex.join(["resenc-plans", "create", *(["-d", dataset] if dataset else [])])


def _no_such_file(path: Path) -> str:
    if path.is_dir():
        return f"{path}: is a folder, a plans file was expected."
    files = plans_files(path.parent) if path.parent.is_dir() else ()
    return f"{path}: no such file.{suggestion(str(path), map(str, files))}"


def _file_of_name(plans: str, files: list[Path]) -> Path:
    named = [path for path in files if path.stem == Path(plans).name.removesuffix(".json")]
    if len(named) > 1:
        paths = " or ".join(map(str, named))
        raise PlansError(f"Plans {plans!r}: there are several. Give the path: {paths}.")
    if not named:
        stems = [path.stem for path in files]
        raise PlansError(
            f"Plans {plans!r}: not found. In scope: {', '.join(stems) or 'none'}."
            f"{suggestion(plans, stems)}"
        )
    return named[0]


def command_of(remedy: Remedy) -> str:
    """A remedy as a command, on one line that can be pasted."""
    words = ["resenc-plans", remedy.command, "-c", remedy.configuration]
    if remedy.plans is not None:
        option = dataset_option(remedy.plans.parent)
        words += [*option, "-p", remedy.plans.stem if option else str(remedy.plans)]
    return shlex.join(words)


def dataset_option(folder: Path) -> list[str]:
    """The option -d for a dataset's folder; none where it is not the folder of one."""
    roots = (environment_folder(variable) for variable in (PREPROCESSED, RAW))
    if any(root is not None and folder.resolve().parent == root.resolve() for root in roots):
        return ["-d", folder.resolve().name]
    if (folder / DATASET_JSON).is_file():
        return ["-d", str(relative_to_cwd(folder.absolute()))]
    return []


def note_results_beside_plans(plan: Plans) -> None:
    """Announce where results go if no variable says so."""
    if environment_folder(RESULTS) is None:
        folder = relative_to_cwd((plan.folder / RESULTS).absolute())
        note(f"{RESULTS} is not set, so results go beside the plans, to {folder}.")


def output_of(plan: Plans, output: Path | None, *, overwrite: bool) -> Path:
    """Where changed plans go: their own file, or a new one; a folder gets a file of their name.

    Raises
    ------
    UsageError
        The output is no JSON file, or another file that exists.
    """
    own = plan.path or Path(part_of_path(plan.name, "plans_name", ending=".json"))
    if output is None:
        return own
    target = output / own.name if output.is_dir() else output
    if target.suffix != ".json":
        raise UsageError(f"--output {output}: plans are a file that ends in .json.")
    if target.exists() and not overwrite and not (own.exists() and target.samefile(own)):
        raise UsageError(
            f"{target} exists already. Choose another --output, or replace it with --overwrite."
        )
    return target


def _folders(dataset: str | None) -> list[Path]:
    if dataset is not None:
        return [find_scope(dataset).preprocessed]
    here = Path()
    if _enclosing_dataset(Path.cwd()) is None:
        return [here]
    scope = find_scope(None)
    return [here] if scope.preprocessed == here else [here, scope.preprocessed]


def _enclosing_dataset(folder: Path) -> Path | None:
    """The folder itself or the nearest above it that has a dataset.json."""
    return next((f for f in (folder, *folder.parents) if (f / DATASET_JSON).is_file()), None)


def _raw_twin(name: str) -> Path | None:
    """The raw folder of the dataset that has this preprocessed folder."""
    root = environment_folder(RAW)
    folder = None if root is None else root / part_of_path(name, "dataset")
    return folder if folder is not None and (folder / DATASET_JSON).is_file() else None
