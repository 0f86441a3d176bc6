"""Training samples against the real nnU-Net's: from equal random numbers, equal samples.

What is compared is all that lies between the stored cases and the network: which case, which
voxels, rotation and scaling, noise, contrast, mirroring, masks, labels, regions, deep supervision.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.demo import write_phantom
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.datasets.images.images import read_image, read_label
from resenc_plans.planning.planner import create_plans
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.preprocessing.store.case_store import CaseStore, write_case, write_labels
from resenc_plans.runs.folds import fold_cases
from resenc_plans.training.batches.batches import PatchBatches
from resenc_plans.training.batches.source import PatchSource, Purpose
from resenc_plans.training.ranks import RankShare
from resenc_plans.training.step import at_size
from tests.networks.configurations import unet_arguments

SCRIPT = Path(__file__).parent / "load_with_nnunet.py"
SEED, SIZE, COUNT = 7, 3, 16
PATCHES = {"flat": (8, 32, 40), "cubic": (16, 36, 32), "cascade": (16, 36, 32), "plane": (40, 32)}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
SCENARIOS: dict[str, tuple[str, str, Purpose]] = {
    "flat, training": ("labels", "flat", "training"),
    "cubic, training": ("labels", "cubic", "training"),
    "plane, training": ("labels", "plane", "training"),
    "cascade, training": ("labels", "cascade", "training"),
    "cubic regions, training": ("regions", "cubic", "training"),
    "flat, validation": ("labels", "flat", "validation"),
    "cascade, validation": ("labels", "cascade", "validation"),
    "plane regions, validation": ("regions", "plane", "validation"),
}


def configurations() -> dict[str, Any]:
    made = {}
    for name, patch in PATCHES.items():
        strides = [[1] * len(patch), [2] * len(patch), [1, *[2] * (len(patch) - 1)]]
        arguments = unet_arguments(len(patch), 3, n_blocks_per_stage=[1] * 3, strides=strides)
        made[name] = {
            "inherits_from": "2d" if name == "plane" else "3d_fullres",
            "patch_size": list(patch),
            "batch_size": SIZE,
            "use_mask_for_norm": [True, False],
            "architecture": {
                "network_class_name": "ResidualEncoderUNet",
                "arch_kwargs": arguments,
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        }
    made["cascade"]["previous_stage"] = "cubic"
    return made


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Plans, Dataset, Path]]:
    """The same cases with labels, and with regions and an ignore label."""
    root = tmp_path_factory.mktemp("stored")
    made = {}
    for kind in ("labels", "regions"):
        raw = write_phantom(root / kind / "Dataset900_Phantom", cases=3)
        if kind == "regions":
            path = raw / "dataset.json"
            changed = {"labels": REGIONS, "regions_class_order": [1, 2]}
            path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        dataset = Dataset.load(raw)
        document = create_plans(Fingerprint.extract(dataset), dataset, preset="M").to_dict()
        document["configurations"] |= configurations()
        plan = Plans.from_dict(document)
        for name in ("cubic", "plane"):
            config = plan.resolve(name)
            for case in dataset.cases:
                assert case.label is not None
                image, label = read_image(case.images), read_label(case.label)
                done = Preprocessor(config, plan).preprocess_case(
                    image.array, label.array, image.properties, dataset.labels
                )
                folder = root / kind / config.data_identifier
                write_case(folder, case.name, done, config.patch_size)
                if name == "cubic":
                    rolled = np.roll(np.maximum(done.labels[0], 0), 2, axis=1)
                    (root / kind / "previous").mkdir(exist_ok=True)
                    write_labels(root / kind / "previous" / f"{case.name}.b2nd", rolled)
        made[kind] = plan, dataset, root / kind
    return made


def source(stored: Any, name: str) -> PatchSource:
    kind, configuration, purpose = SCENARIOS[name]
    plan, dataset, root = stored[kind]
    config = plan.resolve(configuration)
    store = CaseStore(root / config.data_identifier)
    return PatchSource(
        store=store,
        config=config,
        labels=dataset.labels,
        cases=tuple(store),
        share=RankShare(0, SIZE, 1),
        purpose=purpose,
        seed=SEED,
        previous_stage=root / "previous" if configuration == "cascade" else None,
    )


def seeds(purpose: str) -> list[tuple[list[int], bool]]:
    """The states of the generators for each sample, and whether it must show foreground."""
    stream = {"training": 0, "validation": 1}[purpose]
    return [
        (
            np.random.SeedSequence((SEED, stream, number, own)).generate_state(6).tolist(),
            own == SIZE - 1,
        )
        for number in range(COUNT)
        for own in range(SIZE)
    ]


@pytest.fixture(scope="module")
def theirs(
    stored: Any, peer_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    import subprocess

    folder = tmp_path_factory.mktemp("peer")
    question = {}
    for name, (kind, configuration, purpose) in SCENARIOS.items():
        plan, _, root = stored[kind]
        mine = source(stored, name)
        question[name] = {
            "plans": plan.to_dict(),
            "configuration": configuration,
            "dataset_json": json.loads((root / "Dataset900_Phantom/dataset.json").read_text()),
            "folder": str(mine.store.folder),
            "previous": mine.previous_stage and str(mine.previous_stage),
            "purpose": purpose,
            "samples": seeds(purpose),
        }
    (folder / "question.json").write_text(json.dumps(question))
    done = subprocess.run(
        [peer_python, "-W", "ignore", SCRIPT, folder / "question.json", folder / "answer.pt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = torch.load(folder / "answer.pt", weights_only=False)
    return answer


def samples(batches: Iterator[Any]) -> Iterator[tuple[Any, Any, str]]:
    for _ in range(COUNT):
        batch = next(batches)
        for own in range(SIZE):
            yield batch.images[own], batch.target[own], batch.cases[own]


@pytest.mark.parametrize("name", SCENARIOS)
def test_equal_random_numbers_give_equal_samples(
    stored: dict[str, tuple[Plans, Dataset, Path]], theirs: dict[str, Any], name: str
) -> None:
    mine_from = source(stored, name)
    made = samples(PatchBatches(mine_from).stream(0))
    for (image, target, case), (images, segmentations, cases) in zip(
        made, theirs[name], strict=True
    ):
        assert [case] == list(cases)
        assert torch.allclose(image, images[0], rtol=1e-4, atol=1e-4)
        scales = resolutions_of(mine_from.config).output_scales
        assert len(segmentations) == len(scales)
        for scale, other in zip(scales, segmentations, strict=True):
            size = [round(n * of) for n, of in zip(target.shape[1:], scale, strict=True)]
            mine = at_size(target[None], size)[0]
            assert mine.dtype == (other.dtype if other.dtype == torch.bool else torch.int8)
            assert torch.equal(mine.to(other.dtype), other[0])


DO_SPLIT = """
import json, os, sys
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = sys.argv[1]
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
class Trainer:
    dataset_class, folder_with_segs_from_previous_stage = nnUNetDatasetBlosc2, None
    preprocessed_dataset_folder, preprocessed_dataset_folder_base = sys.argv[2], sys.argv[1]
    print_to_log_file = lambda *_, **__: None
found = []
for fold in json.loads(sys.argv[3]):
    Trainer.fold = fold
    found.append([[str(name) for name in names] for names in nnUNetTrainer.do_split(Trainer())])
print(json.dumps(found))
"""


def test_folds_have_the_same_cases(peer: Callable[..., str], tmp_path: Path) -> None:
    store = tmp_path / "cases"
    store.mkdir()
    for number in range(13):
        for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
            (store / f"case_{number}{suffix}").touch()
    folds: list[int | str] = [0, 3, 4, 5, 17, "all"]
    made = [fold_cases(tmp_path, CaseStore(store), fold) for fold in folds]
    ours = (tmp_path / "splits_final.json").read_text()
    (tmp_path / "splits_final.json").unlink()
    theirs = json.loads(peer(DO_SPLIT, tmp_path, store, json.dumps(folds)).splitlines()[-1])
    assert json.loads(ours) == json.loads((tmp_path / "splits_final.json").read_text())
    for split, (train, held_out) in zip(made[:-1], theirs, strict=False):
        assert (list(split.train), list(split.val)) == (train, held_out)
    assert sorted(theirs[-1][0]) == list(made[-1].train) == list(made[-1].val)
