"""Options that several commands share, so that each means one thing everywhere."""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from resenc_plans.errors import UsageError
from resenc_plans.execution.gpus import named_gpu


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


class ReviewFormat(StrEnum):
    """How findings are printed; SARIF is what code review tools read."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"


def reference_option(help: str) -> Any:
    """The option that names the folder of references; `help` says what for."""
    return typer.Option("-r", "--reference", metavar="REFERENCES", help=help, show_default=False)


def output_option(metavar: str, help: str) -> Any:
    """The option that names the file or folder to write; `help` says what goes there."""
    return typer.Option("-o", "--output", metavar=metavar, help=help, show_default=False)


def format_option(metavar: str, help: str) -> Any:
    """The option that chooses how a result is printed."""
    return typer.Option("--format", metavar=metavar, help=help)


def dask_option(help: str) -> Any:
    """The option that names the scheduler of a Dask cluster; `help` says what its workers do."""
    return typer.Option("--dask", metavar="ADDRESS", help=help, show_default=False)


DatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        metavar="DATASET",
        help="Dataset by id (4), name (Dataset004_Hippocampus) or path. "
        "Default: the current folder.",
        show_default=False,
    ),
]
PlansOption = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--plans",
        metavar="PLANS",
        help="Plans by name or path. Default: the only plans file in scope.",
        show_default=False,
    ),
]
PlansOutputOption = Annotated[
    Path | None, output_option("FILE", "Plans file to write. Default: the one that was read.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        "-device",
        metavar="cpu|cuda|mps",
        help="Where to compute; cuda:1 is the second GPU. Default: a GPU if there is one.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be written, write nothing.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what already exists.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-np",
        metavar="N",
        min=1,
        help="Cases to work on at a time. Default: as many as CPUs and memory allow.",
        show_default=False,
    ),
]
AllowImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="MODULE",
        help="Let the plans name networks and operators of this module, whose code then runs. "
        "Repeatable.",
        show_default=False,
    ),
]
ReferencesOption = Annotated[
    Path | None,
    reference_option(
        "Folder of references. Default: labelsTr of the dataset, or gt_segmentations "
        "of its preprocessed folder."
    ),
]
FormatOption = Annotated[Format, format_option("table|json", "A table for people, or JSON.")]
PredictionsArgument = Annotated[
    Path, typer.Argument(metavar="PREDICTIONS", help="Folder of segmentations.", show_default=False)
]
EvaluatedDatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        "--dataset-json",
        "-djfile",
        metavar="DATASET",
        help="Dataset by id, name or path, or its dataset.json. Default: the dataset.json in "
        "PREDICTIONS or beside REFERENCES.",
        show_default=False,
    ),
]
TrainedDatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        metavar="DATASET",
        help="Dataset by id or name in the results folder, or the path of its folder there.",
        show_default=False,
    ),
]
TrainedPlansOption = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--plans",
        metavar="PLANS",
        help="Plans by name. Repeatable. Default: all that are trained.",
        show_default=False,
    ),
]
TrainedConfigurationsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--configuration",
        metavar="CONFIGURATION",
        help="Configuration by name. Repeatable. Default: all that are trained.",
        show_default=False,
    ),
]
TrainersOption = Annotated[
    list[str] | None,
    typer.Option(
        "-tr",
        "--trainer",
        metavar="TRAINER",
        help="Trainer by name. Repeatable. Default: all that are trained.",
        show_default=False,
    ),
]
FoldsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--folds",
        metavar="FOLDS",
        help="Folds, such as 0,1,2 or all. Default: those that all of the models have.",
        show_default=False,
    ),
]
RawOption = Annotated[
    Path | None,
    typer.Option(
        "--raw",
        metavar="FOLDER",
        help="Folder of raw datasets. Default: the environment variable nnUNet_raw.",
        show_default=False,
    ),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="FOLDER",
        help="Results folder. Default: the environment variable nnUNet_results.",
        show_default=False,
    ),
]


def parse_numbers(text: str, kind: type[int] | type[float], option: str) -> tuple[float, ...]:
    """The numbers of `1x2x3`, `1,2,3` or `1 2 3`.

    >>> parse_numbers("128x128x96", int, "--patch-size")
    (128, 128, 96)
    """
    parts = text.replace("x", " ").replace(",", " ").split()
    try:
        numbers = tuple(kind(part) for part in parts)
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        what = "whole numbers of voxels" if kind is int else "numbers in mm"
        raise UsageError(
            f"{option} {text!r}: positive {what}, one per axis, are needed, such as "
            f"{'128x128x96' if kind is int else '1.0,0.8,0.8'}."
        )
    return numbers


def parse_gigabytes(text: str, option: str, *, examples: str = "24") -> float:
    """The GB of `80`, `80GB` or `79.6 GiB`, which nvidia-smi and nnU-Net do not tell apart.

    >>> parse_gigabytes("80", "--gpu-memory"), parse_gigabytes("23.7 GiB", "--fit")
    (80.0, 23.7)
    """
    number = re.sub(r"\s*gi?b?$", "", text.strip(), flags=re.IGNORECASE)
    try:
        gigabytes = float(number)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise UsageError(
            f"{option} {text!r}: a positive number of GB is needed, such as {examples}."
        )
    return gigabytes


def size_in_bytes(gigabytes: float, option: str) -> int:
    """The bytes of a size in GiB.

    >>> size_in_bytes(0.5, "--max-size")
    536870912
    """
    size = gigabytes * 1024**3
    if not 0 < size < float("inf"):
        raise UsageError(
            f"{option} {gigabytes:g}: a positive number of GiB is needed, such as 100."
        )
    return int(size)


def required_dataset(dataset: str | None) -> str:
    """The dataset of `-d`, without which there are no models to choose among.

    Raises
    ------
    UsageError
        It was omitted.
    """
    if dataset is None:
        raise UsageError("Name the dataset with -d.")
    return dataset


def parse_folds(folds: list[str] | None) -> tuple[str, ...]:
    """The folds of `-f 0,1 -f all`; none where the option is omitted.

    Raises
    ------
    UsageError
        One of them is not a fold.
    """
    names = [name for text in folds or () for name in text.replace(",", " ").split()]
    bad = next((name for name in names if name != "all" and not name.isdigit()), None)
    if folds and (bad is not None or not names):
        raise UsageError(f"-f {(bad or folds[0])!r}: folds are numbers, such as 0,1,2, or all.")
    return tuple(dict.fromkeys(names))


def parse_labels(labels: list[str] | None) -> tuple[int, ...]:
    """The label values of `-l 1,2 -l 3`.

    Raises
    ------
    UsageError
        One of them is not a label value.
    """
    values = [value for text in labels or () for value in text.replace(",", " ").split()]
    bad = next((value for value in values if not value.isdecimal()), None)
    if labels and (bad is not None or not values):
        raise UsageError(
            f"-l {(bad or labels[0])!r}: label values are whole numbers, such as 1,2,3."
        )
    return tuple(map(int, values))


def parse_names(texts: list[str] | None) -> tuple[str, ...]:
    """The names of `--metrics Dice,HD95 --metrics NSD`.

    >>> parse_names(["Dice,HD95", "NSD"])
    ('Dice', 'HD95', 'NSD')
    """
    return tuple(name for text in texts or () for name in text.replace(",", " ").split())


def refuse_one_gpu_for_several(gpus: int, device: str | None) -> None:
    """Make sure that `--device` leaves each process of `--gpus` a GPU of its own.

    Raises
    ------
    UsageError
        It names one GPU.
    """
    index = named_gpu(device)
    if gpus > 1 and index:
        raise UsageError(
            f"--gpus {gpus} and --device {device} contradict each other: each process takes a GPU "
            f"of its own. Omit --device, and choose GPUs by CUDA_VISIBLE_DEVICES={index},..."
        )


class Parameter(Protocol):
    """An option or an argument of a command, as Click has it."""

    @property
    def name(self) -> str | None:
        """That of the function's parameter."""

    @property
    def opts(self) -> Sequence[str]:
        """How it is written, in full first."""


def option_names(parameters: Iterable[Parameter]) -> dict[str, str]:
    """How a user writes the options of a command, by parameter."""
    return {parameter.name: parameter.opts[0] for parameter in parameters if parameter.name}


def with_options(message: str, names: Mapping[str, str]) -> str:
    """A message of the library with a command's options in place of parameters (`name=`).

    >>> with_options("Begin anew (`overwrite=`).", {"overwrite": "--overwrite"})
    'Begin anew (--overwrite).'
    """
    for parameter, option in names.items():
        message = message.replace(f"`{parameter}=`", option)
    return message
