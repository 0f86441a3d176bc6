"""Preprocessing: the arrays, properties and locations that the real DefaultPreprocessor makes.

batchgenerators changed from 0.25.4 on how nnU-Net settles where labels meet; we are asked for the
rule of the version that is installed.
"""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from resenc_plans import Dataset, Plans
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.images import read_image, read_label
from resenc_plans.datasets.images.readers import READERS
from resenc_plans.datasets.labels import Labels
from resenc_plans.planning.resampling import Resampling, resampling_document
from resenc_plans.plans.nnunet_parts import (
    LABEL_MANAGERS,
    NORMALIZATIONS,
    PREPROCESSORS,
    RESAMPLING_ARGUMENTS,
)
from resenc_plans.preprocessing import Preprocessor, resample_image, resample_labels
from resenc_plans.preprocessing.case import StoredCase
from resenc_plans.preprocessing.class_locations import sample_class_locations
from resenc_plans.preprocessing.ground_truth import copy_ground_truth
from resenc_plans.preprocessing.resampling.functions import RESAMPLING_FAMILIES
from resenc_plans.preprocessing.resampling.labels import LabelRule
from resenc_plans.preprocessing.store.case_store import CaseStore, write_case
from resenc_plans.preprocessing.store.layout import store_layout
from tests.preprocessing.comparison import assert_same_properties, image_difference
from tests.preprocessing.datasets import kwargs, plans, volume

PREPROCESS = """
import json, pickle, sys, warnings
import numpy as np
import batchgenerators
from importlib.metadata import version
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
warnings.simplefilter("ignore")
folder = sys.argv[1]
for name, scenario in json.load(open(f"{folder}/scenarios.json")).items():
    arrays = np.load(f"{folder}/{name}.npz")
    manager = PlansManager(scenario["plans"])
    data, seg, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        arrays["image"],
        arrays["labels"] if "labels" in arrays else None,
        {"spacing": scenario["spacing"]},
        manager,
        manager.get_configuration(scenario["configuration"]),
        scenario["dataset_json"],
    )
    pickle.dump((data, seg, properties), open(f"{folder}/{name}.pkl", "wb"), protocol=4)
print(version("batchgenerators"))
"""

TORCH = {"resampling_fn_data": "resample_torch_fornnunet"}
TORCH |= {"resampling_fn_seg": "resample_torch_fornnunet"}


def torch_kwargs(separate: bool | None, **more: Any) -> dict[str, Any]:
    return TORCH | {
        f"resampling_fn_{what}_kwargs": {
            "is_seg": what == "seg",
            "force_separate_z": separate,
            "memefficient_seg_resampling": False,
            **more,
        }
        for what in ("data", "seg")
    }


def dataset_json(
    channels: int = 1, labels: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    names = {str(c): f"channel {c}" for c in range(channels)}
    labels = labels or {"background": 0, "a": 1, "b": 2, "c": 3}
    return {"channel_names": names, "labels": labels, "file_ending": ".nii.gz", **more}


def smooth_case(
    shape: tuple[int, int, int], channels: int = 1, seed: int = 0, most: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """An image with a zero margin and zeros inside, and labels that meet in threes."""
    random = np.random.default_rng(seed)
    noise = gaussian_filter(random.standard_normal((channels, *shape)), (0, 1, 1, 1))
    image = (noise * 500 + 300).astype(np.float32)
    image[:, :, :3] = image[:, :, :, -2:] = 0
    image[:, shape[0] // 2 :, 5:9, 4:8] = 0
    blobs = gaussian_filter(random.standard_normal(shape), 1.2)
    labels = np.digitize(blobs, np.quantile(blobs, np.linspace(0.4, 1, most + 1)[:-1]))
    return image, labels[None].astype(np.int16)


def made_scenarios() -> dict[str, Any]:
    """Name to (plans, image, labels, spacing, dataset.json)."""
    isotropic, coarse_z = (1.5, 1.2, 0.9), (6.5, 0.43, 0.43)
    volume = smooth_case((14, 22, 26))
    flat = smooth_case((9, 40, 44), seed=1)
    scenarios = {}

    def add(
        name: str,
        case: Any,
        old: Any,
        /,
        description: Any = None,
        channels: int = 1,
        **changes: Any,
    ) -> None:
        description = description or dataset_json(channels)
        scenarios[name] = (plans(channels=channels, **changes), *case, old, description)

    add("cubic", volume, isotropic)
    add("coarser", volume, isotropic, spacing=[2.5, 2.3, 2.1])
    add("twice as fine", volume, (2.0, 2.0, 2.0))
    add("same spacing", volume, (1.0, 1.0, 1.0))
    add("2d", volume, isotropic, spacing=[0.7, 0.8], patch_size=[16, 16])
    add("coarse z", flat, coarse_z, spacing=[6.5, 0.56, 0.56])
    add("coarse z, made finer", flat, coarse_z, spacing=[3.0, 0.56, 0.35])
    add("coarse x", flat, (0.5, 0.43, 4.0), spacing=[0.8, 0.5, 2.0])
    add("coarse afterwards", flat, isotropic, spacing=[8.0, 1.0, 1.0])
    add("transposed", flat, (0.43, 6.5, 0.5), spacing=[6.5, 0.5, 0.6], transpose=(1, 2, 0))
    for separate in (True, False):
        for what in ("data", "seg"):
            scenario = f"separate {separate} {what}"
            settings = kwargs(what == "seg", 3 if what == "data" else 1)
            settings |= {"force_separate_z": separate, "order_z": 1}
            change: dict[str, Any] = {f"resampling_fn_{what}_kwargs": settings}
            add(scenario, volume, isotropic, **change)
    add("order 0", volume, isotropic, resampling_fn_seg_kwargs=kwargs(True, 0))
    add(
        "one plane",
        smooth_case((1, 40, 30)),
        (999.0, 1.0, 1.0),
        spacing=[0.7, 1.3],
        patch_size=[16, 16],
    )
    schemes = ["CT", "ZScore", "ZScore", "RescaleTo01", "No"]
    add(
        "all schemes",
        smooth_case((10, 20, 18), channels=5),
        isotropic,
        channels=5,
        normalization_schemes=[f"{scheme}Normalization" for scheme in schemes],
        use_mask_for_norm=[False, True, False, True, False],
    )
    rgb = np.clip(smooth_case((1, 30, 30), channels=3)[0], 0, 255)
    add(
        "rgb",
        (rgb, smooth_case((1, 30, 30))[1]),
        (999.0, 1.0, 1.0),
        channels=3,
        spacing=[1.3, 1.1],
        patch_size=[16, 16],
        normalization_schemes=["RGBTo01Normalization"] * 3,
    )
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "c": 3}
    add("regions", volume, isotropic, dataset_json(labels=regions, regions_class_order=[1, 2, 3]))
    ignore = {"background": 0, "a": 1, "b": 2, "ignore": 3}
    add("ignore label", volume, isotropic, dataset_json(labels=ignore))
    add("no segmentation", (volume[0], None), isotropic)
    many = {"background": 0} | {str(label): label for label in range(1, 201)}
    add("200 labels", smooth_case((12, 20, 20), most=200), isotropic, dataset_json(labels=many))
    add("torch", volume, isotropic, **torch_kwargs(False))
    add("torch by spacing", flat, coarse_z, spacing=[3.0, 0.5, 0.6], **torch_kwargs(None))
    add("torch apart", flat, coarse_z, spacing=[3.0, 0.5, 0.6], **torch_kwargs(True))
    kinds: tuple[Resampling, ...] = ("torch", "torch-separate-z", "none")
    for resampling in kinds:
        planned = resampling_document(resampling)
        add(f"planned: {resampling}", flat, coarse_z, spacing=[3.0, 0.5, 0.6], **planned)
    threshold = torch_kwargs(None, memefficient_seg_resampling=True)
    add("torch threshold", volume, isotropic, **threshold)
    return scenarios


def real_scenarios(shared: Path) -> dict[str, Any]:
    """Cases of both shared datasets in all of their configurations, and in some more."""
    scenarios = {}
    more: Any
    for name, cases, more in (
        (
            "Dataset004_Hippocampus",
            ("hippocampus_193", "hippocampus_056"),
            {"3d_lowres": {"spacing": [1.6, 1.6, 1.6]}, "cubic": {"spacing": [0.8, 0.9, 1.15]}},
        ),
        (
            "Dataset501_BrainMR",
            ("study3",),
            {
                "3d_lowres": {"spacing": [6.5, 1.2, 1.2]},
                "cubic": {
                    "spacing": [2.5, 1.4, 1.4],
                    "use_mask_for_norm": [True] * 4,
                    "resampling_fn_data_kwargs": kwargs(False, 3) | {"force_separate_z": False},
                    "resampling_fn_seg_kwargs": kwargs(True, 1) | {"force_separate_z": False},
                },
            },
        ),
    ):
        dataset = Dataset.load(shared / "data" / name)
        document = json.loads((shared / "oracle" / name / "nnUNetPlans.json").read_text())
        for configuration, changes in more.items():
            derived = {"inherits_from": "3d_fullres", "data_identifier": configuration}
            document["configurations"][configuration] = derived | changes
        for case in dataset.cases:
            if case.name in cases:
                image = read_image(case.images, "SimpleITKIO")
                assert case.label is not None
                labels = read_label(case.label, "SimpleITKIO").array.astype(np.int16)
                for configuration in ("2d", "3d_fullres", *more):
                    scenarios[f"{case.name} {configuration}"] = (
                        document,
                        image.array,
                        labels,
                        image.spacing,
                        dataset.json.to_dict(),
                        configuration,
                    )
    return scenarios


def ask(
    peer: Callable[..., Any], folder: Path, scenarios: dict[str, Any]
) -> tuple[dict[str, tuple[Any, ...]], LabelRule]:
    """What nnU-Net makes of each scenario, and the rule for labels of its environment."""
    questions = {}
    for name, (document, image, labels, spacing, description, *configuration) in scenarios.items():
        arrays = {"image": image} if labels is None else {"image": image, "labels": labels}
        np.savez(folder / f"{name}.npz", **arrays)
        questions[name] = {
            "plans": document,
            "spacing": list(spacing),
            "dataset_json": description,
            "configuration": configuration[0] if configuration else "3d_fullres",
        }
    (folder / "scenarios.json").write_text(json.dumps(questions))
    version = peer(PREPROCESS, folder)
    return {name: pickle.loads((folder / f"{name}.pkl").read_bytes()) for name in scenarios}, (
        rule_of(version)
    )


def rule_of(version: str) -> LabelRule:
    major, minor, patch, *_ = (*map(int, version.split(".")), 0)
    return "argmax" if (major, minor, patch) >= (0, 25, 4) else "threshold"


def assert_equal_to(
    theirs: tuple[np.ndarray, np.ndarray, dict[str, Any]],
    scenario: tuple[Any, ...],
    rule: LabelRule,
) -> None:
    document, image, labels, spacing, description, *configuration = scenario
    plan = Plans.from_dict(document)
    config = plan.resolve(configuration[0] if configuration else "3d_fullres")
    known = Labels.from_dataset(DatasetJson.from_dict(description))
    preprocessor = Preprocessor(config, plan, rule)
    before = image.copy()

    ours = preprocessor.preprocess_case(image, labels, {"spacing": list(spacing)}, known)

    np.testing.assert_array_equal(image, before)
    data, segmentation, properties = theirs
    assert image_difference(ours.image, data) < 1e-5
    np.testing.assert_array_equal(ours.labels, segmentation)
    assert_same_properties(ours.properties, properties)


def test_made_cases_equal_nnunets(peer: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    scenarios = made_scenarios()

    answers, rule = ask(peer, tmp_path, scenarios)

    for name, scenario in scenarios.items():
        try:
            assert_equal_to(answers[name], scenario, rule)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_real_cases_equal_nnunets_in_every_configuration(
    peer: Callable[..., str], shared: Path, tmp_path: Path
) -> None:
    scenarios = real_scenarios(shared)

    answers, rule = ask(peer, tmp_path, scenarios)

    for name, scenario in scenarios.items():
        try:
            assert_equal_to(answers[name], scenario, rule)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


RESAMPLE = """
import json, pickle, sys, warnings
import numpy as np
from importlib.metadata import version
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params
warnings.simplefilter("ignore")
questions = pickle.load(open(sys.argv[1], "rb"))
answers = {
    "resampled": [resample_data_or_seg_to_shape(a, **k) for a, k in questions["resampled"]],
    "layouts": [comp_blosc2_params(*arguments) for arguments in questions["layouts"]],
    "locations": [
        DefaultPreprocessor._sample_foreground_locations(volume[None], classes)
        for volume, classes in questions["locations"]
    ],
    "version": version("batchgenerators"),
}
pickle.dump(answers, open(sys.argv[2], "wb"), protocol=4)
"""


def random_resampling(random: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """An array and the arguments of nnU-Net's resampling function; every other one has ties."""
    shape = tuple(int(n) for n in random.integers(1, 26, 3))
    new_shape = tuple(int(n) for n in random.integers(1, 36, 3))
    if random.random() < 0.5:
        new_shape = tuple(2 * n if random.random() < 0.7 else n for n in shape)
    spacings = ((1, 1, 1), (5, 1, 1), (1, 6, 1), (1, 1, 4), (5, 5, 1))
    arguments = {
        "new_shape": new_shape,
        "current_spacing": spacings[random.integers(5)],
        "new_spacing": spacings[random.integers(5)],
        "is_seg": bool(random.random() < 0.5),
        "order_z": int(random.choice((0, 0, 1))),
        "force_separate_z": (None, None, True, False)[random.integers(4)],
    }
    if arguments["is_seg"]:
        arguments["order"] = int(random.choice((1, 1, 1, 0)))
        noise = gaussian_filter(random.standard_normal(shape), random.choice((0, 1)))
        return np.digitize(noise, np.quantile(noise, (0.3, 0.6, 0.9)))[None] - 1, arguments
    arguments["order"] = int(random.choice((3, 3, 1, 0)))
    offset = random.choice((0, 1000))
    return (offset + 50 * random.standard_normal((2, *shape))).astype(np.float32), arguments


def test_random_resampling_layouts_and_locations_equal_nnunets(
    peer: Callable[..., str], tmp_path: Path
) -> None:
    random = np.random.default_rng(1234)
    layouts = [
        (
            (int(random.integers(1, 4)), *np.exp(random.uniform(0, 6.5, 3)).astype(int).tolist()),
            np.exp(random.uniform(0, 5.6, random.integers(2, 4))).astype(int).tolist(),
            int(random.choice((2, 4))),
        )
        for _ in range(1000)
    ]
    volumes = [
        gaussian_filter(random.integers(-9, 40, shape), 2).astype(np.int16) // 6
        for shape in ((30, 40, 50), (60, 120, 130), (5, 6, 7))
    ]
    classes = ([1, 2, 3], [(1, 2, 3), (2,), 3], [1, 9, (-1, 0, 1, 2)])
    questions: dict[str, Any] = {
        "resampled": [random_resampling(random) for _ in range(200)],
        "layouts": layouts,
        "locations": [(volume, keys) for volume in volumes for keys in classes],
    }
    (tmp_path / "questions.pkl").write_bytes(pickle.dumps(questions))
    peer(RESAMPLE, tmp_path / "questions.pkl", tmp_path / "answers.pkl")
    answers = pickle.loads((tmp_path / "answers.pkl").read_bytes())
    rule = rule_of(answers["version"])

    for (array, arguments), theirs in zip(
        questions["resampled"], answers["resampled"], strict=True
    ):
        settings = {
            "spacing": arguments["current_spacing"],
            "new_spacing": arguments["new_spacing"],
            "order": arguments["order"],
            "order_z": arguments["order_z"],
            "separate_z": arguments["force_separate_z"],
        }
        if arguments["is_seg"]:
            ours = resample_labels(array, arguments["new_shape"], rule=rule, **settings)
            np.testing.assert_array_equal(ours, theirs, err_msg=str(arguments))
        else:
            ours = resample_image(array, arguments["new_shape"], **settings)
            assert image_difference(ours, theirs) < 1e-5, arguments
    for arguments, (blocks, chunks) in zip(layouts, answers["layouts"], strict=True):
        layout = store_layout(*arguments)
        assert (layout.blocks, layout.chunks) == (blocks, chunks)
    for (labels, keys), theirs in zip(questions["locations"], answers["locations"], strict=True):
        locations = sample_class_locations(labels, keys)
        assert_same_properties({"class_locations": locations}, {"class_locations": theirs})


READ_OURS = """
import pickle, sys
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetDatasetNumpy
folder, older, answer = sys.argv[1:]
dataset = infer_dataset_class(folder)(folder)
image, labels, _, properties = dataset.load_case("case_1")
arrays = (dataset.identifiers, image[:], labels[:], properties)
pickle.dump(arrays, open(answer, "wb"), protocol=4)
nnUNetDatasetNumpy.save_case(image[:], labels[:], properties, f"{older}/case_1")
"""


def test_nnunet_reads_our_store_and_we_its_older_one(
    peer: Callable[..., str], tmp_path: Path
) -> None:
    image, labels = volume(3)
    stored = StoredCase(image[None], labels[None].astype(np.int16), {"class_locations": {1: []}})
    write_case(tmp_path / "ours", "case_1", stored, (16, 16, 16))
    (tmp_path / "older").mkdir()

    peer(READ_OURS, tmp_path / "ours", tmp_path / "older", tmp_path / "answer.pkl")

    names, *theirs, properties = pickle.loads((tmp_path / "answer.pkl").read_bytes())
    older = CaseStore(tmp_path / "older")["case_1"]
    assert names == ["case_1"]
    assert properties == older.properties == stored.properties
    for arrays in (theirs, (older.image, older.labels)):
        np.testing.assert_array_equal(arrays[0][:], stored.image)
        np.testing.assert_array_equal(arrays[1][:], stored.labels)


TRAIN = """
import functools, os, sys
folder = sys.argv[1]
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = f"{folder}/{variable}"
os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

def shortened(original):
    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 3, 1
    return __init__

nnUNetTrainer.__init__ = shortened(nnUNetTrainer.__init__)
if __name__ == "__main__":
    sys.argv = ["nnUNetv2_train", "4", "3d_fullres_small", "0", "-p", "Ours", "-device", "cpu"]
    run_training_entry()
"""


def test_nnunet_trains_on_what_we_stored(
    peer: Callable[..., str], shared: Path, tmp_path: Path
) -> None:
    name = "Dataset004_Hippocampus"
    few = ["hippocampus_001", "hippocampus_003", "hippocampus_004", "hippocampus_006"]
    raw = tmp_path / "nnUNet_raw" / name
    preprocessed = tmp_path / "nnUNet_preprocessed" / name
    (tmp_path / "nnUNet_results").mkdir()
    for folder, suffix in (("imagesTr", "_0000"), ("labelsTr", "")):
        (raw / folder).mkdir(parents=True)
        for case in few:
            source = shared / "data" / name / folder / f"{case}{suffix}.nii.gz"
            shutil.copy(source, raw / folder)
    shutil.copy(shared / "data" / name / "dataset.json", raw)
    document = json.loads(
        (shared / "oracle" / name / "nnUNetResEncUNetMPlans_edited.json").read_text()
    )
    document["plans_name"] = "Ours"
    document["configurations"]["3d_fullres_small"]["batch_size"] = 2
    plan = Plans.from_dict(document)
    dataset = Dataset.load(raw)
    config = plan.resolve("3d_fullres_small")

    Preprocessor(config, plan).run(dataset, preprocessed / config.data_identifier, workers=1)
    copy_ground_truth(dataset, preprocessed)
    plan.save(preprocessed / "Ours.json")
    shutil.copy(raw / "dataset.json", preprocessed)
    shutil.copy(shared / "oracle" / name / "dataset_fingerprint.json", preprocessed)
    splits = [{"train": few[:3], "val": few[3:]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    said = peer(TRAIN, tmp_path)

    results = tmp_path / "nnUNet_results" / name / "nnUNetTrainer__Ours__3d_fullres_small"
    loss = re.search(r"train_loss (\S+)", said)
    assert loss is not None
    assert np.isfinite(float(loss[1]))
    assert (results / "fold_0" / "checkpoint_final.pth").is_file()
    assert (results / "fold_0" / "validation" / "summary.json").is_file()


PARTS = """
import inspect, json, sys
import nnunetv2
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from nnunetv2.preprocessing.resampling.utils import recursive_find_resampling_fn_by_name
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

where = {
    "preprocessors": "preprocessing", "normalizations": "preprocessing",
    "managers": "utilities.label_handling", "readers": "imageio",
}
names = json.loads(sys.argv[1])
found = {
    kind: [recursive_find_python_class(
        f"{nnunetv2.__path__[0]}/{folder.replace('.', '/')}", name, f"nnunetv2.{folder}"
    ) is not None for name in names[kind]]
    for kind, folder in where.items()
}
found["arguments"] = {
    name: list(inspect.signature(recursive_find_resampling_fn_by_name(name)).parameters)
    for name in names["functions"]
}
print(json.dumps(found))
"""


def test_the_parts_that_plans_may_name_are_nnunets(peer: Callable[..., str]) -> None:
    names = {
        "preprocessors": PREPROCESSORS,
        "normalizations": NORMALIZATIONS,
        "managers": LABEL_MANAGERS,
        "readers": sorted(READERS),
        "functions": list(RESAMPLING_ARGUMENTS),
    }
    found = json.loads(peer(PARTS, json.dumps(names)).splitlines()[-1])
    theirs = found.pop("arguments")
    assert all(all(known) for known in found.values())
    of_calls = {"data", "new_shape", "current_spacing", "new_spacing"}
    for function, arguments in RESAMPLING_ARGUMENTS.items():
        assert set(arguments) == set(theirs[function]) - of_calls - _IGNORED.get(function, set())
    assert RESAMPLING_FAMILIES.keys() == RESAMPLING_ARGUMENTS.keys()


_IGNORED = {"resample_torch_simple": {"mode"}}
"""nnU-Net cannot call this function from plans at all: it takes no spacings."""
