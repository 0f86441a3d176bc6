"""The other files that are read: images, stored cases, checkpoints, arrays, pickles, archives."""

from pathlib import Path
from random import Random

from resenc_plans.datasets.images.geometry import geometry_from_properties
from resenc_plans.datasets.images.images import can_read, read_file, read_image
from resenc_plans.datasets.images.readers import (
    NIBABEL,
    NIBABEL_REORIENT,
    SIMPLEITK,
    SIMPLEITK_REORIENT,
)
from resenc_plans.inference.export.npz_stream import ArrayReader
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.preprocessing.store.check import check_stored_case
from resenc_plans.runs.archive import import_model
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.postprocessing_files import read_steps
from resenc_plans.runs.stages import open_prediction
from resenc_plans.runs.trained_model import TrainedModel
from resenc_plans.safe_pickle import load_pickle
from resenc_plans.training.history import from_logging
from tests.cli.scenes import CASES, DATA, MODEL, SHAPE
from tests.faults.examples import CHECKPOINT, IMAGES, IMPORTED, OLD_STORE, PREVIOUS, STORE
from tests.faults.kinds import Calls, Kind

_READERS = (None, SIMPLEITK, SIMPLEITK_REORIENT, NIBABEL, NIBABEL_REORIENT)


def _nifti(root: Path, path: Path, random: Random) -> Calls:
    reader = random.choice(_READERS)
    yield lambda: can_read(path, reader or SIMPLEITK)
    yield lambda: repr(read_image([path], reader))


def _image(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: repr(read_file(path, is_label=random.random() < 0.5))


def _store(root: Path, path: Path, random: Random) -> Calls:
    store = CaseStore(path.parent)
    name = path.name.partition(".")[0].removesuffix("_seg")
    yield lambda: check_stored_case(store, name, None)
    yield lambda: store.class_locations(name)
    patch = tuple(slice(start, start + 5) for start in map(random.randrange, (1, *SHAPE)))
    case = store[name]
    yield lambda: case.image[patch]
    yield lambda: case.labels[patch]


def _previous(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: open_prediction(root / PREVIOUS, path.stem, SHAPE)


def _checkpoint(root: Path, path: Path, random: Random) -> Calls:
    checkpoint = load_checkpoint(path)
    yield lambda: from_logging(checkpoint.logging, 0)
    model = TrainedModel.load(root / MODEL)
    source = next(iter(model.weights))
    yield lambda: model.network(source)


def _array(root: Path, path: Path, random: Random) -> Calls:
    with ArrayReader(path, "probabilities") as reader:
        shape = reader.shape
        yield lambda: [reader.read(max(shape, default=1)) for _ in range(3)]


def _pickle(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: read_steps(path)
    properties = load_pickle(path)
    if isinstance(properties, dict):
        yield lambda: geometry_from_properties(properties)


def _archive(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: import_model(path, root / IMPORTED)


_PREDICTED = "results/Dataset009_Small/nnUNetTrainer__nnUNetPlans__2d/fold_0/validation"
_OLD_FILES = ("a.npz", "b.npz", "b.npy", "b_seg.npy", "a.pkl")

BINARY_KINDS: dict[str, dict[str, Kind]] = {
    "nifti": {
        "NIfTI": Kind(
            (f"{DATA}/imagesTr/a_0000.nii.gz", "reference/a.nii.gz", f"{IMAGES}/a.nii"), _nifti
        ),
    },
    "images": {
        "other images": Kind(
            tuple(f"{IMAGES}/a.{ending}" for ending in ("mha", "nrrd", "png", "tif", "bmp")), _image
        ),
    },
    "stores": {
        "stored cases": Kind(
            tuple(f"{STORE}/{CASES[0]}{ending}" for ending in (".b2nd", "_seg.b2nd", ".pkl")),
            _store,
            weight=6,
        ),
        "older stores": Kind(tuple(f"{OLD_STORE}/{name}" for name in _OLD_FILES), _store),
        "previous stages": Kind((f"{PREVIOUS}/a.npz", f"{PREVIOUS}/b.b2nd"), _previous),
    },
    "checkpoints": {"checkpoints": Kind((CHECKPOINT,), _checkpoint)},
    "npz": {"npz": Kind(("one/one.npz", f"{_PREDICTED}/a.npz"), _array)},
    "pickles": {
        "pickles": Kind(
            (f"{STORE}/a.pkl", "one/one.pkl", "postprocessing.pkl", f"{_PREDICTED}/a.pkl"), _pickle
        ),
    },
    "archives": {"archives": Kind(("model.zip",), _archive, writes=True)},
}
"""By group and name."""
