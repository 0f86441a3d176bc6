"""What public objects show of themselves: a few lines that fit on a screen."""

from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import resenc_plans
from resenc_plans import Dataset, Plans, ResencPlansError, TrainingSettings
from resenc_plans.datasets.demo import write_phantom
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.reprs import MAX_LENGTH, MAX_LINES, call, card, numbers
from tests.inference.models import CPU_IN_FP32, write_model
from tests.networks.configurations import configuration, plain
from tests.plans.documents import document
from tests.study.made_results import dice_like, write_summary
from tests.study.unattended.made_study import write_study

MANY = tuple(f"a_case_with_quite_a_long_name_{number}" for number in range(500))
PROBLEMS = tuple(CaseProblem(case, "it is damaged\nin two lines " + 50 * "x") for case in MANY)
LABELS = {name: value for value, name in enumerate(("background", *MANY[:100]))}

PUBLIC_TYPES = sorted(
    name
    for name in resenc_plans.__all__
    if isinstance(getattr(resenc_plans, name), type)
    and not issubclass(getattr(resenc_plans, name), ResencPlansError)
)


def statistics(**changes: float) -> dict[str, float]:
    keys = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")
    return dict.fromkeys(keys, 22360.123456789) | changes


def plans() -> Plans:
    plan = Plans.from_dict(document(), path=Path("/data", *MANY[:5], "plans.json"))
    for number in range(12):
        plan.derive(f"a_configuration_with_quite_a_long_name_{number}", batch_size=3 + number)
    return plan


def summary() -> Any:
    from resenc_plans.evaluation.summary import CaseMetrics, Summary

    keys = ("Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref")
    metrics: Any = dict.fromkeys(range(1, 40), dict.fromkeys(keys, 0.5))
    return Summary(tuple(CaseMetrics(case, case, metrics) for case in MANY), tuple(range(1, 40)))


def task() -> Any:
    regions = tuple((n, n + 1, n + 2) for n in range(1, 60))
    return resenc_plans.EvaluationTask(regions, label_names=dict(zip(regions, MANY, strict=False)))


def evaluation() -> Any:
    return resenc_plans.Evaluation(task(), summary(), PROBLEMS, MANY, written=(Path(MANY[0]),))


def determination() -> Any:
    steps = resenc_plans.Postprocessing(tuple((n,) for n in range(50)))
    return resenc_plans.Determination(
        task=task(),
        postprocessing=steps,
        trials=(),
        before=summary(),
        after=summary(),
        problems=PROBLEMS,
    )


def selection() -> Any:
    from resenc_plans.evaluation.selection import Candidate

    candidates = tuple(Candidate(f"ensemble___{case}___{case}", (), Path(), 0.5) for case in MANY)
    return resenc_plans.Selection(
        candidates=candidates,
        best=candidates[0],
        folds=("0", "1"),
        ensembles=True,
        determination=determination(),
        notes=(),
    )


def compared_methods(tmp_path: Path) -> Any:
    from resenc_plans.study.compare import compare

    methods = [write_summary(tmp_path / name, dice_like(4)) for name in MANY[:20]]
    return compare(*methods, draws=100)


def compared_runs() -> Any:
    from resenc_plans.runs.comparability import RunDifference
    from resenc_plans.runs.model_folder import ModelFolder

    return resenc_plans.RunComparison(
        first=ModelFolder(Path("A__P__2d")),
        second=ModelFolder(Path("B__P__2d")),
        differences=tuple(
            RunDifference(f"R{n:03}", "error", "cases", MANY[n], 1, 2, ("0",), is_known=n > 5)
            for n in range(20)
        ),
    )


def machine() -> Any:
    return resenc_plans.MachineReport(
        system="Linux 6.1 on x86_64",
        python="3.11.2",
        versions=dict.fromkeys(MANY),
        torch=None,
        gpus=(),
        cpus=16,
        cpus_of_machine=96,
        free_memory_bytes=2**37,
        rooms=(),
        environment={},
        convolution=None,
        selective_scan=None,
        findings=tuple(resenc_plans.Finding(case, "warning", "is slow") for case in MANY),
    )


def dataset_json() -> Any:
    return resenc_plans.DatasetJson.from_dict(
        {
            "channel_names": {str(n): MANY[n] for n in range(9)},
            "labels": LABELS,
            "file_ending": ".nii.gz",
            "numTraining": 500,
        }
    )


def prepared() -> Any:
    from resenc_plans.preprocessing import PreprocessingReport

    reports = {case: PreprocessingReport(Path(case), MANY, MANY, PROBLEMS) for case in MANY}
    return resenc_plans.PreparedDataset(plans(), reports)


def trained() -> Any:
    from resenc_plans.runs.run_folder import RunFolder
    from resenc_plans.training.history import TrainingResult

    result = TrainingResult(False, f"the time is over {MANY}", Path("x.pth"), ())
    return resenc_plans.TrainedFold(RunFolder(Path("model"), 0), result, None)


def trainer(folder: Path) -> Any:
    write_phantom(folder / "Dataset900_Phantom", cases=1)
    plan = Plans.from_dict(document())
    plan.save(folder / "plans.json")
    unused: Any = SimpleNamespace()
    return resenc_plans.Trainer(
        plan.resolve("3d_fullres"),
        Dataset.load(folder / "Dataset900_Phantom"),
        device="cpu",
        training_batches=unused,
        validation_batches=unused,
    )


MAKERS: dict[str, Callable[[Path], Any]] = {
    "Baseline": lambda _: resenc_plans.find_baseline("nnu-net"),
    "Comparison": compared_methods,
    "Configuration": lambda _: plans().configurations["3d_fullres"],
    "Cost": lambda _: resenc_plans.estimate_cost(plans().resolve("3d_fullres"), 1, 3),
    "Dataset": lambda folder: Dataset(folder, dataset_json()),
    "DatasetJson": lambda _: dataset_json(),
    "Determination": lambda _: determination(),
    "Evaluation": lambda _: evaluation(),
    "EvaluationTask": lambda _: task(),
    "Finding": lambda _: resenc_plans.Finding("P001", "error", " ".join(MANY), "3d", "patch_size"),
    "Fingerprint": lambda _: resenc_plans.Fingerprint.from_dict(
        {
            "spacings": [[1.0, 0.7, 0.7]] * 500,
            "shapes_after_crop": [[120, 512, 512]] * 500,
            "foreground_intensity_properties_per_channel": {str(n): statistics() for n in range(9)},
            "median_relative_size_after_cropping": 0.9,
        }
    ),
    "Image": lambda _: resenc_plans.Image(
        np.zeros((1, 9, 9, 9), np.float32),
        (1.0, 0.7, 0.7),
        dict(zip(MANY, repeat(0), strict=False)),
    ),
    "IntensityProperties": lambda _: resenc_plans.IntensityProperties(**statistics()),
    "MachineReport": lambda _: machine(),
    "OtherArchitecture": lambda _: (
        configuration("monai.networks.nets.SwinUNETR", dict.fromkeys(MANY, "x")).architecture
    ),
    "PlainConvUNetArchitecture": lambda _: plain().architecture,
    "Plans": lambda _: plans(),
    "PlansDiff": lambda _: Plans.from_dict(document()).diff(plans()),
    "Postprocessing": lambda _: determination().postprocessing,
    "PredictionSettings": lambda _: resenc_plans.PredictionSettings(allow_import=MANY),
    "Predictor": lambda folder: resenc_plans.Predictor.from_folder(
        write_model(folder / "model"), settings=CPU_IN_FP32
    ),
    "PreparedDataset": lambda _: prepared(),
    "Preprocessor": lambda _: resenc_plans.Preprocessor(plans().resolve("3d_fullres")),
    "Preset": lambda _: resenc_plans.find_preset("XL"),
    "ResamplingSettings": lambda _: plans().resolve("3d_fullres").resampling_fn_seg_kwargs,
    "ResidualEncoderUNetArchitecture": lambda _: plans().resolve("3d_fullres").architecture,
    "ResolvedConfiguration": lambda _: plans().resolve("3d_fullres"),
    "RunComparison": lambda _: compared_runs(),
    "Selection": lambda _: selection(),
    "Study": lambda folder: resenc_plans.Study.load(write_study(folder, cases=1)),
    "Summary": lambda _: summary(),
    "TrainedFold": lambda _: trained(),
    "Trainer": trainer,
    "TrainingSettings": lambda _: TrainingSettings(),
}


def test_there_is_an_example_of_every_public_type() -> None:
    assert sorted(MAKERS) == PUBLIC_TYPES


@pytest.mark.parametrize("name", PUBLIC_TYPES)
def test_a_public_object_shows_itself_in_a_few_lines(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("nnUNet_results", raising=False)
    made = MAKERS[name](tmp_path)
    assert type(made).__name__ == name
    for text in (repr(made), str(made)):
        lines = text.splitlines()
        assert name in lines[0]
        assert 1 <= len(lines) <= MAX_LINES
        assert max(map(len, lines)) <= MAX_LENGTH
        assert len(text) >= len(f"{name}()")
        assert "object at 0x" not in text


def test_a_configuration_shows_what_one_looks_for() -> None:
    text = repr(plans().resolve("3d_fullres"))
    for part in ("3d_fullres of nnUNetResEncUNetMPlans", "32x64x64", "1x1x1 mm", "3 stages"):
        assert part in text


def test_settings_show_what_is_not_the_default() -> None:
    assert repr(TrainingSettings(epochs=5)) == "TrainingSettings(epochs=5)"


def test_a_call_is_wrapped_between_values_and_cut() -> None:
    text = call("Settings", {f"key_{number}": "x" * 90 for number in range(30)})
    assert text.startswith("Settings(\n    key_0='xxx")
    assert text.endswith("more)\n)")
    assert len(text.splitlines()) == MAX_LINES


def test_a_card_cuts_rows_and_says_how_many_are_left() -> None:
    lines = card("title " * 50, {str(number): "long\n" * 50 for number in range(20)}).splitlines()
    assert len(lines) == MAX_LINES
    assert lines[-1] == "    ... (12 more)"
    assert max(map(len, lines)) == MAX_LENGTH


def test_an_integer_beyond_all_fractions_is_cut() -> None:
    assert numbers((1.5, 10**400)) == "1.5x10000000000000000..."
