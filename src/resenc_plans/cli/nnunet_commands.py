"""The console commands of nnU-Net 2.8.1 with each of their options, and what stands for them here.

One table: docs/nnunet-commands.md is written from it, and the command line answers nnU-Net's
options by it. The tests compare it with the commands here and with nnU-Net's own parsers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Row = tuple[str | None, str]
"""An option or an argument here, None where there is none, and what differs or what to do."""

VERBOSE: Row = ("--verbose", "before the command: `resenc-plans --verbose COMMAND`")
_BAR: Row = (None, "a bar is shown on a terminal only")
_WORKERS: Row = ("-np", "default: as many as CPUs and memory allow")
_ONE_DATASET: Row = ("-d", "one dataset, by id, name or path")
_EXTRACTOR: Row = (None, "there is one extractor, nnU-Net's own")
_PREPROCESSOR: Row = (None, "there is one preprocessor, nnU-Net's default")
_INTEGRITY: Row = (None, "`resenc-plans verify`; what is read anyway is checked in any case")
_PLANS_OF_FOLDER: Row = (None, "only labels count, which dataset.json has")
_SPACING: Row = ("--spacing", "in one word: `Z,Y,X`")
_PART: Row = ("--part", "`K/N`, counted from 1: `-num_parts 4 -part_id 0` is `--part 1/4`")
_THREADS: Row = ("-np", "one number for reading and writing")
_DEVICE: Row = ("-device", "default: a GPU if there is one")
_MEMORY: Row = (None, "results that do not fit on the device are collected in memory unasked")
_BY_OPTION: Row = ("-d", "an option; by id or name in the results folder")
_FOLDS: Row = ("-f", "also in one word, `0,1,2`; default: all that are trained")
_MANY: Row = ("-c", "default: all that are trained")
_MANY_PLANS: Row = ("-p", "default: all that are trained")
_MANY_TRAINERS: Row = ("-tr", "default: all that are trained")


def _same(*names: str) -> dict[str, Row]:
    return {name: (name, "") for name in names}


@dataclass(frozen=True)
class NnunetCommand:
    """A command of nnU-Net, and the line that does the same here."""

    name: str
    """Without `nnUNetv2_`."""
    line: str
    """The command here, with what it needs in any case."""
    options: Mapping[str, Row]
    """What stands for each option or argument of nnU-Net."""
    remark: str = ""

    @property
    def command(self) -> str:
        """The name of the command here."""
        return self.line.split()[0]


_PREDICTION: dict[str, Row] = {
    **_same("-i", "-o"),
    "-f": _FOLDS,
    **_same("-step_size", "--disable_tta"),
    "--verbose": VERBOSE,
    **_same("--save_probabilities", "--continue_prediction"),
    "-chk": ("-chk", ""),
    "-npp": _THREADS,
    "-nps": _THREADS,
    "-prev_stage_predictions": ("-prev_stage_predictions", ""),
    "-device": _DEVICE,
    "--disable_progress_bar": _BAR,
    "--not_on_device": _MEMORY,
}
_EVALUATION: dict[str, Row] = {
    "gt_folder": ("-r", "an option: the predictions are the only argument"),
    "pred_folder": ("predictions", ""),
}
_PLANNING: dict[str, Row] = {
    "-pl": ("-pl", "default: L, which nnU-Net recommends; its own default is `-pl default`"),
    "-gpu_memory_target": ("-gpu_memory_target", "with `--name`, unless it is the preset's own"),
    "-preprocessor_name": _PREPROCESSOR,
    "-overwrite_target_spacing": _SPACING,
    "-overwrite_plans_name": ("-overwrite_plans_name", ""),
}

NNUNET_COMMANDS: tuple[NnunetCommand, ...] = (
    NnunetCommand(
        "plan_and_preprocess",
        "create --preprocess",
        {
            "-d": _ONE_DATASET,
            "-fpe": _EXTRACTOR,
            "-npfp": _WORKERS,
            "--verify_dataset_integrity": _INTEGRITY,
            "--no_pp": (None, "omit `--preprocess`"),
            "--clean": (None, "`resenc-plans fingerprint --overwrite` extracts it again"),
            **_PLANNING,
            "-c": (None, "`--preprocess` takes all; `resenc-plans preprocess -c` some"),
            "-np": ("-np", "one number; default: as many as CPUs and memory allow"),
            "--verbose": VERBOSE,
            "--no_pbar": _BAR,
        },
        "Values of existing plans are not replaced without `--overwrite`.",
    ),
    NnunetCommand(
        "extract_fingerprint",
        "fingerprint",
        {
            "-d": _ONE_DATASET,
            "-fpe": _EXTRACTOR,
            "-np": _WORKERS,
            "--verify_dataset_integrity": _INTEGRITY,
            "--clean": ("--overwrite", "an existing fingerprint is kept without it"),
            "--verbose": VERBOSE,
            "--no_pbar": _BAR,
        },
    ),
    NnunetCommand("plan_experiment", "create", {"-d": _ONE_DATASET, **_PLANNING}),
    NnunetCommand(
        "preprocess",
        "preprocess",
        {
            "-d": _ONE_DATASET,
            "-plans_name": ("-p", "default: the only plans of the dataset"),
            "-c": ("-c", "default: all that have data of their own"),
            "-np": ("-np", "one number; default: as many as CPUs and memory allow"),
            "--verbose": VERBOSE,
            "--no_pbar": _BAR,
        },
        "Only cases that are missing or out of date are preprocessed.",
    ),
    NnunetCommand(
        "train",
        "train",
        {
            "dataset_name_or_id": ("dataset", ""),
            **_same("configuration", "fold"),
            "-tr": ("-tr", "[trainers.md](trainers.md) has all"),
            "-p": ("-p", "default: the only plans of the dataset"),
            "-pretrained_weights": ("-pretrained_weights", ""),
            "-num_gpus": ("-num_gpus", ""),
            "--npz": ("--npz", ""),
            "--c": ("--c", ""),
            "--val": ("--resume", "a fold that is trained is only validated"),
            "--val_best": (None, "validation takes the final weights; `predict -chk` any"),
            "--disable_checkpointing": ("--disable_checkpointing", ""),
            "-device": _DEVICE,
        },
        "A trained fold is left alone without `--resume` or `--overwrite`.",
    ),
    NnunetCommand(
        "predict",
        "predict",
        {
            **_PREDICTION,
            "-d": ("-d", ""),
            "-p": ("-p", "default: the only ones that are trained"),
            "-tr": ("-tr", ""),
            "-c": ("-c", "default: the only one that is trained"),
            "-num_parts": _PART,
            "-part_id": _PART,
        },
    ),
    NnunetCommand(
        "predict_from_modelfolder",
        "predict",
        {**_PREDICTION, "-m": ("-m", ""), "--c": ("--continue", "")},
    ),
    NnunetCommand(
        "find_best_configuration",
        "select",
        {
            "dataset_name_or_id": _BY_OPTION,
            "-p": _MANY_PLANS,
            "-c": _MANY,
            "-tr": _MANY_TRAINERS,
            "-np": _WORKERS,
            "-f": _FOLDS,
            "--disable_ensembling": ("--disable_ensembling", ""),
            "--no_overwrite": (None, "collected predictions are always evaluated anew"),
        },
    ),
    NnunetCommand(
        "accumulate_crossval_results",
        "accumulate",
        {
            "dataset_name_or_id": _BY_OPTION,
            "-c": ("-c", "default: the only one that is trained"),
            "-o": ("-o", ""),
            "-f": _FOLDS,
            "-p": ("-p", "default: the only ones that are trained"),
            "-tr": ("-tr", ""),
        },
    ),
    NnunetCommand(
        "determine_postprocessing",
        "postprocess",
        {
            "-i": ("predictions", "an argument"),
            "-ref": ("-r", ""),
            "-plans_json": _PLANS_OF_FOLDER,
            "-dataset_json": ("-d", "default: that in the folder of predictions"),
            "-np": _WORKERS,
            "--remove_postprocessed": (None, "delete the folder `postprocessed`, or that of `-o`"),
        },
    ),
    NnunetCommand(
        "apply_postprocessing",
        "postprocess --apply",
        {
            "-i": ("predictions", "an argument"),
            "-o": ("-o", ""),
            "-pp_pkl_file": ("-pp_pkl_file", ""),
            "-np": _WORKERS,
            "-plans_json": _PLANS_OF_FOLDER,
            "-dataset_json": ("-d", "default: that in the folder of predictions"),
        },
    ),
    NnunetCommand(
        "ensemble",
        "ensemble",
        {"-i": ("-i", "or as arguments"), "-o": ("-o", ""), "-np": _WORKERS} | _same("--save_npz"),
    ),
    NnunetCommand(
        "evaluate_folder",
        "evaluate",
        {
            **_EVALUATION,
            "-djfile": ("-djfile", "default: that in the folder of predictions"),
            "-pfile": (None, "only labels and the file ending count, which dataset.json has"),
            "-o": ("-o", ""),
            "-np": _WORKERS,
            "--chill": ("--chill", ""),
        },
    ),
    NnunetCommand(
        "evaluate_simple",
        "evaluate",
        {
            **_EVALUATION,
            "-l": ("-l", "in one word: `1,2,3`"),
            "-il": ("-il", ""),
            "-o": ("-o", ""),
            "-np": _WORKERS,
            "--chill": ("--chill", ""),
        },
    ),
    NnunetCommand(
        "plot_overlay_pngs",
        "evaluate --overlay",
        {
            "-d": ("-d", ""),
            "-o": ("--overlay", "a folder"),
            "-np": _WORKERS,
            "-channel_idx": (None, "the first channel; in Python `draw_overlay`"),
            "--use_raw": ("--images", "raw images, in a folder"),
            "-p": (None, "raw images are drawn"),
            "-c": (None, "raw images are drawn"),
            "-overlay_intensity": (None, "outlines are drawn, not areas"),
        },
        "`resenc-plans evaluate labelsTr -r labelsTr --overlay pictures --images imagesTr` draws a "
        "dataset's references.",
    ),
    NnunetCommand(
        "export_model_to_zip",
        "export-model",
        {
            "-d": ("-d", ""),
            "-o": ("-o", ""),
            "-c": _MANY,
            "-tr": _MANY_TRAINERS,
            "-p": _MANY_PLANS,
            "-f": _FOLDS,
            "-chk": ("-chk", ""),
            "--not_strict": (None, "without effect in nnU-Net too; what is missing is an error"),
            "--exp_cv_preds": ("--exp_cv_preds", ""),
        },
    ),
    NnunetCommand(
        "install_pretrained_model_from_zip",
        "import-model",
        {"zip": ("archive", "an existing model is replaced with `--overwrite` only")},
    ),
    NnunetCommand(
        "download_pretrained_model_by_url",
        "download-model",
        {"url": ("url", "compared with `--sha256`; checked as by `import-model`")},
    ),
    NnunetCommand(
        "move_plans_between_datasets",
        "move-plans",
        {
            "-s": ("-s", "default: the current folder's"),
            "-t": ("-t", ""),
            "-sp": ("-sp", "default: the only plans of the source"),
            "-tp": ("-tp", ""),
        },
    ),
    NnunetCommand(
        "convert_MSD_dataset",
        "convert-msd",
        {"-i": ("-i", ""), "-overwrite_id": ("-overwrite_id", ""), "-np": _WORKERS},
    ),
    NnunetCommand(
        "convert_old_nnUNet_dataset",
        "convert-old",
        {"input_folder": ("source", ""), "output_dataset_name": ("name", "")},
    ),
)

PREFIX = "nnUNetv2_"


def commands_like(command: str) -> Iterator[NnunetCommand]:
    """The commands of nnU-Net that a command here stands for."""
    return (known for known in NNUNET_COMMANDS if known.command == command)


def answer_to_option(command: str, option: str) -> str | None:
    """What to say to one of nnU-Net's options that a command here does not have; None to others.

    >>> answer_to_option("preprocess", "-plans_name")
    "-plans_name is nnU-Net's: write -p (default: the only plans of the dataset)."
    """
    for known in commands_like(command):
        if option in known.options:
            return _answer(option, *known.options[option])
    if len(option.lstrip("-")) < 2:
        return None
    for known in NNUNET_COMMANDS:
        if option in known.options:
            own, remark = known.options[option]
            written = f" {own}" if own is not None and own.startswith("-") else ""
            return (
                f"{option} is an option of {PREFIX}{known.name}, which is `resenc-plans "
                f"{known.line}{written}` here" + (f" ({remark})." if remark else ".")
            )
    return None


def answer_to_command(name: str) -> str | None:
    """What to say to the name of one of nnU-Net's commands; None to others.

    >>> answer_to_command("nnUNetv2_plan_experiment")
    'nnUNetv2_plan_experiment is `resenc-plans create` here.'
    """
    for known in NNUNET_COMMANDS:
        if name in (known.name, PREFIX + known.name):
            return f"{PREFIX}{known.name} is `resenc-plans {known.line}` here."
    return None


def _answer(option: str, own: str | None, remark: str) -> str:
    if own is None:
        return f"{option} is nnU-Net's, and there is no such option here: {remark}."
    what = own if own.startswith("-") else f"the argument {own.upper()}"
    return f"{option} is nnU-Net's: write {what}" + (f" ({remark})." if remark else ".")
