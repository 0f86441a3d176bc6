import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import ModelError
from resenc_plans.preprocessing.store.case_store import write_labels
from resenc_plans.runs.stages import missing_predictions, open_prediction
from resenc_plans.training.batches.patch_sampling import read_region

LABELS = np.random.default_rng(0).integers(0, 3, (6, 8, 10)).astype(np.uint8)


def write(folder: Path, form: str) -> None:
    if form == "b2nd":
        write_labels(folder / "case.b2nd", LABELS)
    else:
        np.savez(folder / "case.npz", seg=LABELS if form == "npz" else LABELS[None])


@pytest.mark.parametrize("form", ["b2nd", "npz", "npz with a channel"])
def test_a_region_of_a_prediction_is_read_like_one_of_labels(tmp_path: Path, form: str) -> None:
    write(tmp_path, form)
    prediction = open_prediction(tmp_path, "case", LABELS.shape)
    assert prediction.shape == (1, *LABELS.shape)
    region = read_region(prediction, (2, -1, 3), (3, 5, 4), -1)
    np.testing.assert_array_equal(region[0, :, 1:], LABELS[2:5, :4, 3:7])
    assert (region[0, :, 0] == -1).all()


def test_cases_without_a_prediction_are_listed(tmp_path: Path) -> None:
    write(tmp_path, "b2nd")
    assert missing_predictions(tmp_path, ("a", "case", "b")) == ("a", "b")
    with pytest.raises(ModelError, match="no prediction of the previous stage for a"):
        open_prediction(tmp_path, "a", LABELS.shape)


def test_a_prediction_for_other_plans_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "b2nd")
    with pytest.raises(ModelError, match="predicted for other plans"):
        open_prediction(tmp_path, "case", (6, 8, 11))


def _npy_of_words() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(["a"]))
    return stream.getvalue()


def test_a_prediction_that_holds_no_numbers_is_named(tmp_path: Path) -> None:
    for name, content in (("seg.npy", b"no array"), ("seg.npy", _npy_of_words())):
        with zipfile.ZipFile(tmp_path / "case.npz", "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(ModelError, match=r"case\.npz: damaged"):
            open_prediction(tmp_path, "case", LABELS.shape)


@pytest.mark.parametrize("suffix", ["b2nd", "npz"])
def test_a_damaged_prediction_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"case.{suffix}").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=rf"case\.{suffix}: (damaged|cannot be opened)"):
        open_prediction(tmp_path, "case", LABELS.shape)
