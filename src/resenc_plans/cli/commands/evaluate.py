"""The command that judges segmentations: evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import Format, FormatOption, OutputOption, WorkersOption
from resenc_plans.cli.render import note, print_json, print_table, progress, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from resenc_plans.evaluation.evaluate import Evaluation, Question
    from resenc_plans.evaluation.summary import Summary

PredictionsArgument = Annotated[
    Path, typer.Argument(metavar="PREDICTIONS", help="Folder of segmentations.", show_default=False)
]
QuestionDatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        "--dataset-json",
        "-djfile",
        metavar="DATASET",
        help="Dataset by id, name or path, or its dataset.json. Without it: the dataset.json in "
        "PREDICTIONS or beside REFERENCES.",
        show_default=False,
    ),
]


def evaluate(
    predictions: PredictionsArgument,
    second_folder: Annotated[
        Path | None, typer.Argument(hidden=True, metavar="", show_default=False)
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r",
            "--reference",
            metavar="REFERENCES",
            help="Folder of references, with the same file names.",
            show_default=False,
        ),
    ] = None,
    dataset: QuestionDatasetOption = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "-l",
            "--labels",
            metavar="LABELS",
            help="Labels such as 1,2,3, instead of those of a dataset.json.",
            show_default=False,
        ),
    ] = None,
    ignore_label: Annotated[
        int | None,
        typer.Option(
            "-il", "--ignore-label", help="With -l: voxels to leave out.", show_default=False
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", "--chill", help="References without a prediction are no fault."),
    ] = False,
    surface: Annotated[
        bool,
        typer.Option(
            "--surface", help="Distances of surfaces as well, into surface.json (extra monai)."
        ),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(metavar="MM", help="Of the normalised surface Dice, with --surface.")
    ] = 1.0,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Picture of the distribution per label (.png, .pdf, .svg).",
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="A picture per case: outlines over the image, the reference's dashed.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The images, for --overlay: CASE_0000.", show_default=False
        ),
    ] = None,
    workers: WorkersOption = None,
    output: OutputOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Dice, IoU and voxel counts per case and label, as nnU-Net's summary.json has them.

    summary.json is written into PREDICTIONS, or to the file that -o names. Exit code 1 if a case
    could not be evaluated or has no prediction.
    Example: resenc-plans evaluate predictions -r labelsTs -d 4
    """
    from resenc_plans.errors import UsageError
    from resenc_plans.evaluation.evaluate import evaluate_folder, prediction_names

    if second_folder is not None:
        raise UsageError(
            "Two folders were given, and nnU-Net's own order (references first, then predictions) "
            "would swap false positives and false negatives here. Give the predictions alone, and "
            "name the references with -r: evaluate PREDICTIONS -r REFERENCES."
        )
    if references is None:
        raise UsageError("Name the folder of references with -r.")
    if (overlay is None) != (images is None):
        raise UsageError("--overlay needs --images, the folder of the images, and vice versa.")
    question, names = find_question(predictions, references, dataset, labels, ignore_label)
    total = len(prediction_names(predictions, question.file_ending))
    with progress("Evaluating", total) as on_case:
        found = evaluate_folder(predictions, references, question, workers=workers, on_case=on_case)
    if found.summary is not None:
        target = output or predictions / "summary.json"
        found.summary.save(target)
        if format is Format.JSON:
            print_json(found.summary.to_dict())
        else:
            _print_summary(found.summary, names)
            say(f"Wrote {target}.")
        show = say if format is Format.TABLE else note
        if surface:
            _measure_surfaces(
                predictions, references, question, names, tolerance, target.parent, show
            )
        if plot is not None:
            from resenc_plans.visualization.distributions import draw_distribution

            called = {r: names[str(r)] for r in found.summary.regions if str(r) in names}
            draw_distribution(found.summary, plot, names=called)
            show(f"Wrote {plot}.")
        if overlay is not None and images is not None:
            _draw_overlays(found.summary, images, overlay, question, names)
            show(f"Wrote {overlay}.")
    _report(found, partial)


def _measure_surfaces(
    predictions: Path,
    references: Path,
    question: "Question",
    names: dict[str, str],
    tolerance: float,
    folder: Path,
    show: "Callable[[str], None]",
) -> None:
    from resenc_plans.evaluation.evaluate import prediction_names
    from resenc_plans.evaluation.surface import measure_folder

    total = len(prediction_names(predictions, question.file_ending))
    with progress("Measuring surfaces", total) as on_case:
        found = measure_folder(
            predictions, references, question, tolerance=tolerance, on_case=on_case
        )
    found.save(folder / "surface.json")
    if show is say:
        rows = [
            (
                label_text(region, names),
                *(f"{v:.4g}" for v in found.mean(region).values()),
                str(found.undefined(region)),
            )
            for region in question.regions
        ]
        columns = ("label", "HD95 [mm]", "ASSD [mm]", f"NSD at {tolerance:g} mm", "undefined")
        print_table(columns, rows)
    show(f"Wrote {folder / 'surface.json'}.")


def _draw_overlays(
    summary: "Summary", images: Path, target: Path, question: "Question", names: dict[str, str]
) -> None:
    """A PNG per case; a case without a readable image is named and passed over."""
    from resenc_plans.errors import ResencPlansError
    from resenc_plans.visualization.overlay import draw_case

    called = {int(key): name for key, name in names.items() if key.isdigit()}
    target.mkdir(parents=True, exist_ok=True)
    with progress("Drawing", len(summary.cases)) as on_case:
        for case in summary.cases:
            try:
                draw_case(case, images, target, question.reader, called)
            except ResencPlansError as error:
                note(f"{case.name}: no picture. {error}")
            on_case(case.name)


def label_text(region: object, names: dict[str, str]) -> str:
    """A label or region with its name, for a table."""
    return f"{region} {names.get(str(region), '')}".strip()


def _stem(name: str) -> str:
    """A case's name without the ending of its file."""
    return name.removesuffix(".gz").rpartition(".")[0]


def _report(found: "Evaluation", partial: bool) -> None:
    for problem in found.problems:
        note(f"{problem.case}: not evaluated. {problem.reason}", style="red")
    if found.summary is None:
        note("No case could be evaluated, so no summary was written.", style="red")
    if found.missing:
        shown = ", ".join(found.missing[:5]) + (" …" if found.missing[5:] else "")
        note(f"{len(found.missing)} of the references have no prediction: {shown}")
    if found.problems or (found.missing and not partial):
        raise typer.Exit(1)


def _print_summary(summary: "Summary", names: dict[str, str]) -> None:
    """A row per label: means over the cases, and the worst case by Dice."""
    rows = []
    for region in summary.regions:
        mean = summary.mean[region]
        scored = [
            c for c in summary.cases if c.metrics[region]["Dice"] == c.metrics[region]["Dice"]
        ]
        worst = min(scored, key=lambda c: c.metrics[region]["Dice"], default=None)
        rows.append(
            (
                label_text(region, names),
                str(len(scored)),
                *(f"{mean[name]:.4f}" for name in ("Dice", "IoU")),
                *(f"{mean[name]:.0f}" for name in ("TP", "FP", "FN", "n_pred", "n_ref")),
                f"{worst.metrics[region]['Dice']:.4f} {_stem(worst.name)}" if worst else "",
            )
        )
    total = summary.foreground_mean
    rows.append(
        (
            *("foreground mean", str(len(summary.cases))),
            *(f"{total[name]:.4f}" for name in ("Dice", "IoU")),
            *(f"{total[name]:.0f}" for name in ("TP", "FP", "FN", "n_pred", "n_ref")),
            "",
        )
    )
    columns = ("label", "cases", "Dice", "IoU", "TP", "FP", "FN", "n_pred", "n_ref", "worst case")
    print_table(columns, rows)


def find_question(
    predictions: Path,
    references: Path,
    dataset: str | None,
    labels: list[str] | None,
    ignore_label: int | None,
) -> "tuple[Question, dict[str, str]]":
    """What to ask of the cases, and the names of labels by their keys in summary.json."""
    from resenc_plans.cli.options import parse_numbers
    from resenc_plans.datasets.dataset_json import DatasetJson
    from resenc_plans.errors import ResencPlansError
    from resenc_plans.evaluation.evaluate import Question, prediction_names
    from resenc_plans.folders import DATASET_JSON, find_dataset_folder

    if labels:
        if dataset is not None:
            raise ResencPlansError("Give either -l or -d, not both: each says which labels count.")
        values = [int(n) for text in labels for n in parse_numbers(text, int, "-l")]
        return Question(tuple(dict.fromkeys(values)), ignore_label), {}
    if dataset is None:
        beside = (predictions / DATASET_JSON, references.parent / DATASET_JSON)
        path = next((path for path in beside if path.is_file()), None)
        if path is None:
            raise ResencPlansError(
                f"No {DATASET_JSON} in {predictions} or {references.parent}. Name the dataset "
                "with -d, or the labels with -l 1,2,3."
            )
    else:
        path = Path(dataset)
        if not path.is_file():
            path = find_dataset_folder(dataset) / DATASET_JSON
    document = DatasetJson.load(path)
    first = prediction_names(predictions, document.file_ending)[0]
    question = Question.of_dataset(document, predictions / first)
    return question, {str(value): name for name, value in document.labels.items()}
