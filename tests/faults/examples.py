"""Valid examples of every file that is read, in one folder: what the fuzzer damages."""

import json
from dataclasses import asdict
from pathlib import Path

import blosc2
import numpy as np
import SimpleITK

from resenc_plans.datasets.images.images import read_label
from resenc_plans.evaluation.evaluate import evaluate
from resenc_plans.execution.locks import Holder
from resenc_plans.preprocessing.store.manifest import FileRecord, Manifest, ManifestEntry
from resenc_plans.profiling.local_calibration import Measured
from resenc_plans.runs.postprocessing_files import json_of_steps, pickle_of_steps
from resenc_plans.runs.run_cost import Session, save_cost
from tests.cli.scenes import CASES, DATA, MODEL, write_files
from tests.plans.documents import document
from tests.runs.made_runs import write_model, write_nnunets_model

STORE = f"{DATA}/nnUNetPlans_3d_fullres"
OLD_STORE = "old_store"
"""A store of nnU-Net's older layout."""
PREVIOUS = "previous"
"""Predictions of a previous stage."""
IMAGES, IMPORTED = "formats", "imported"
CHECKPOINT = f"{MODEL}/fold_0/checkpoint_final.pth"
RUNS = "runs"
OURS, NNUNETS = f"{RUNS}/nnUNetTrainer__P__3d_fullres", f"{RUNS}/nnUNetTrainer__Q__3d_fullres"

_HOLDER = Holder("host", "boot", "namespace", 1, "start", 1.0, "token")
_DEBUG = {
    "num_epochs": "1000",
    "num_iterations_per_epoch": "250",
    "initial_lr": "0.01",
    "weight_decay": "3e-05",
    "enable_deep_supervision": "True",
    "inference_allowed_mirroring_axes": "(0, 1, 2)",
}


def write_examples(root: Path) -> None:
    """What all commands work on, and what else is read."""
    write_files(root)
    _write_documents(root)
    _write_run_folders(root)
    _write_stores(root)
    _write_images(root)
    (root / IMPORTED).mkdir()
    (root / "lock").write_text(json.dumps(asdict(_HOLDER)))


def _write_documents(root: Path) -> None:
    splits = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["b", "c"], "val": ["a"]}]
    (root / DATA / "splits_final.json").write_text(json.dumps(splits))
    child = {"inherits_from": "3d_fullres", "batch_size": 4}
    grandchild = {"inherits_from": "child", "patch_size": [32, 32, 32], "previous_stage": "child"}
    (root / "family.json").write_text(json.dumps(document(child=child, grandchild=grandchild)))
    regions = {
        "channel_names": {"0": "T1", "1": "CT"},
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [1, 2],
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": {"a": {"images": ["a_0000.nii.gz", "a_0001.nii.gz"], "label": "a.nii.gz"}},
    }
    (root / "regions").mkdir()
    (root / "regions/dataset.json").write_text(json.dumps(regions))
    training = {
        "epochs": 5, "optimizer": {"kind": "AdamW"}, "seed": 1, "loss": {"kind": "dice_focal"},
        "schedule": {"kind": "cosine"}, "precision": "bf16", "workers": 2,
    }  # fmt: skip
    (root / "more_settings.json").write_text(json.dumps(training))
    evaluate(root / "segmented", root / "reference", workers=1)
    summary = root / "segmented/summary.json"
    summary.write_text(summary.read_text().replace(str(root), "."))
    (root / "postprocessing.json").write_text(json.dumps(json_of_steps([1, (1, 2), [1, 2]])))
    (root / "postprocessing.pkl").write_bytes(pickle_of_steps([1, (1, 2), [1, 2]]))
    methods = {
        "preset": {"preset": "M", "changes": {"batch_size": 3}},
        "recipe": {"baseline": "stu-net-s", "settings": {"epochs": 2}},
        "elsewhere": {"predictions": "../segmented"},
    }
    study = {
        "datasets": [f"../{DATA}"], "methods": methods, "folds": [0], "seeds": [0, 1],
        "metrics": ["Dice", "HD95"], "primary": "Dice", "training": {"epochs": 2},
        "bootstrap": {"draws": 200, "level": 0.9},
    }  # fmt: skip
    (root / "study").mkdir()
    (root / "study/study.json").write_text(json.dumps(study))
    sizes = (10**9, 10**9, 10**9, 10**9, 10**9)
    measured = Measured("GPU", "2.8", "2026-11-01", "P", "2d", 2, (8, 8), *sizes, 1.0)
    (root / "measurements.json").write_text(json.dumps([asdict(measured)]))


def _write_run_folders(root: Path) -> None:
    ours = write_model(root / RUNS, Path(OURS).name, settings={"epochs": 3})
    write_nnunets_model(root / RUNS, Path(NNUNETS).name, _DEBUG)
    session = Session(0.0, 60.0, 0, 1, "cpu", "CPU", 1, "2.8", 1, 1, None, None, 1, None)
    save_cost(ours.run(0).path / "cost.json", [session])
    ours.run(0).record({"epoch": 0, "training_loss": 0.5})
    ours.run(0).record({"epoch": 1, "training_loss": 0.4})


def _write_stores(root: Path) -> None:
    store = root / STORE
    entries = []
    for case in CASES:
        outputs = [FileRecord.of(store / f"{case}{end}") for end in ("_seg.b2nd", ".pkl", ".b2nd")]
        named = tuple(FileRecord(Path(o.path).name, o.size, o.mtime_ns, o.sha256) for o in outputs)
        shape = tuple(blosc2.open(str(store / f"{case}.b2nd")).shape)
        entries.append(ManifestEntry(case, "recipe", named, named, shape))
    Manifest(store).write(entries)
    old, previous = root / OLD_STORE, root / PREVIOUS
    old.mkdir()
    previous.mkdir()
    labels = read_label(root / "reference" / f"{CASES[0]}.nii.gz").array.astype(np.int16)
    image = labels.astype(np.float32)
    np.savez_compressed(old / "a.npz", data=image, seg=labels)
    np.savez(old / "b.npz", data=image, seg=labels)
    np.save(old / "b.npy", image)
    np.save(old / "b_seg.npy", labels)
    for case in ("a", "b"):
        (old / f"{case}.pkl").write_bytes((store / f"{case}.pkl").read_bytes())
    np.savez_compressed(previous / "a.npz", seg=labels[0])
    blosc2.asarray(np.ascontiguousarray(labels[0]), urlpath=str(previous / "b.b2nd"))


def _write_images(root: Path) -> None:
    folder = root / IMAGES
    folder.mkdir()
    labels = read_label(root / "reference" / f"{CASES[0]}.nii.gz").array[0]
    image = SimpleITK.GetImageFromArray(labels)
    for ending in ("nii", "mha", "nrrd", "tif"):
        SimpleITK.WriteImage(image, str(folder / f"a.{ending}"))
    for ending in ("png", "bmp"):
        SimpleITK.WriteImage(image[:, :, 3], str(folder / f"a.{ending}"))
