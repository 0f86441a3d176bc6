"""Arguments of another kind are refused in our words, wherever they come in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans import (
    Configuration,
    Dataset,
    DatasetJson,
    Fingerprint,
    Plans,
    Predictor,
    Preprocessor,
    apply_postprocessing,
    build_network,
    count_voxels,
    create_plans,
    draw_overlay,
    ensemble_folders,
    measure_surfaces,
    plan_and_preprocess,
    read_image,
    read_label,
    register_architecture,
    register_baseline,
    register_preset,
    write_phantom,
)
from resenc_plans.datasets.integrity import verify_dataset
from resenc_plans.errors import ConfigurationError, DatasetError, EvaluationError, UsageError
from resenc_plans.plans.configuration import ResolvedConfiguration
from tests.datasets.made import document as dataset_json
from tests.plans.documents import document as plans_document


@pytest.fixture
def config() -> ResolvedConfiguration:
    return Plans.from_dict(plans_document()).resolve("3d_fullres")


IMAGES = np.ones((1, 4, 4, 4), np.float32)
MISTAKES: dict[str, tuple[Callable[..., Any], str]] = {
    "path of plans": (lambda _: Plans.load(3), r"`path=` is a int\. Give the path"),  # type: ignore[arg-type]
    "path of nothing": (lambda _: Plans.load(None), r"`path=` is None"),  # type: ignore[arg-type]
    "path of a fingerprint": (lambda _: Fingerprint.load(3), "`path=`"),  # type: ignore[arg-type]
    "path of a dataset.json": (lambda _: DatasetJson.load(3), "`path=`"),  # type: ignore[arg-type]
    "model folder": (lambda _: Predictor.from_folder(3), "`folder=` is a int"),  # type: ignore[arg-type]
    "id of a dataset": (lambda _: Dataset.load(1.5), "`dataset=` is a float"),  # type: ignore[arg-type]
    "dataset to verify": (lambda _: verify_dataset("a"), r"Dataset\.load\('a'\)"),  # type: ignore[arg-type]
    "dataset to extract": (lambda _: Fingerprint.extract("a"), r"Dataset\.load\('a'\)"),  # type: ignore[arg-type]
    "dataset to preprocess": (lambda c: Preprocessor(c).run("a", "b"), r"Dataset\.load\('a'\)"),  # type: ignore[arg-type]
    "dataset to do it all": (lambda _: plan_and_preprocess("a"), r"Dataset\.load\('a'\)"),  # type: ignore[arg-type]
    "batch size": (lambda _: Configuration(batch_size="x"), "batch_size must be an integer"),
    "copied configuration": (lambda c: c.model_copy(update={"batch_size": "x"}), "an integer"),
    "files of channels": (lambda _: read_image("a.nrrd"), r"such as \['a\.nrrd'\]"),
    "no files of channels": (lambda _: read_image(3), "`paths=` is a int"),  # type: ignore[arg-type]
    "file of labels": (lambda _: read_label(["a"]), "`path=` is a list"),  # type: ignore[arg-type]
    "folders to average": (lambda _: ensemble_folders("a", "b"), r"several, such as \['a'\]"),
    "post-processing": (lambda _: apply_postprocessing("a", "b", "c"), r"Postprocessing\.load"),  # type: ignore[arg-type]
    "preset": (lambda _: register_preset("M"), "`preset=` is a str"),  # type: ignore[arg-type]
    "baseline": (lambda _: register_baseline("cotr"), "`baseline=` is a str"),  # type: ignore[arg-type]
    "builder": (lambda _: register_architecture("Own", 3), "`builder=` is a int"),  # type: ignore[arg-type]
    "labels to count": (lambda _: count_voxels(IMAGES, IMAGES, 1), "`regions=` is a int"),  # type: ignore[arg-type]
    "cases of a phantom": (lambda _: write_phantom("a", cases=0), "at least one is needed"),
    "fingerprint": (lambda _: create_plans("f", dataset_json()), "`fingerprint=` is a str"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_argument_of_another_kind_is_named(mistake: str, config: ResolvedConfiguration) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(UsageError, match=message):
        call(config)


CASES: dict[str, tuple[tuple[Any, ...], str]] = {
    "images": (("x", None, {}), r"`images=` is no array of numbers"),
    "segmentation": ((IMAGES, "x", {"spacing": (1, 1, 1)}), r"`labels=` is a str"),
    "properties": ((IMAGES, None, None), r"`properties=` is None"),
    "labels": ((IMAGES, None, {"spacing": (1, 1, 1)}, "a"), r"`dataset_labels=` is a str"),
    "no spacing": ((IMAGES, None, {}), r"Spacing None: three lengths"),
    "spacing of two": ((IMAGES, None, {"spacing": (1, 1)}), r"three lengths"),
    "spacing of zero": ((IMAGES, None, {"spacing": (0, 1, 1)}), r"three lengths"),
    "spacing of words": ((IMAGES, None, {"spacing": "one"}), r"three lengths"),
}


@pytest.mark.parametrize("mistake", CASES)
def test_what_makes_no_case_is_named(mistake: str, config: ResolvedConfiguration) -> None:
    arguments, message = CASES[mistake]
    with pytest.raises((UsageError, DatasetError), match=message):
        Preprocessor(config).preprocess_case(*arguments)


def test_label_maps_of_other_shapes_are_not_compared() -> None:
    one, other = np.ones((4, 5, 6), np.uint8), np.ones((5, 4, 6), np.uint8)
    with pytest.raises(EvaluationError, match="their voxels do not correspond"):
        count_voxels(one, other, [1])
    with pytest.raises(EvaluationError, match="their voxels do not correspond"):
        measure_surfaces(one, other, (1, 1, 1), [1])


def test_a_spacing_that_is_none_is_named(tmp_path: Path) -> None:
    volume = np.ones((4, 5, 6), np.uint8)
    with pytest.raises(DatasetError, match="three lengths are needed"):
        measure_surfaces(volume, volume, (1, 1), [1])
    with pytest.raises(DatasetError, match="three lengths are needed"):
        draw_overlay(volume, volume, (1, 1, 0), tmp_path / "a.png")


@pytest.mark.parametrize("count", ["1", 1.5, True, 0, None, 10**12])
def test_channels_and_heads_are_counted(count: Any, config: ResolvedConfiguration) -> None:
    for counts in ((count, 3), (1, count)):
        with pytest.raises(ConfigurationError, match=r"an integer from 1 to 65,536 is needed"):
            build_network(config, *counts)
