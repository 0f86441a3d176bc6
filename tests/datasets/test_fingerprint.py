import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans import Fingerprint, IntensityProperties
from resenc_plans.errors import FileError, FingerprintError, UsageError

STATISTICS = dict.fromkeys(
    ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.5
)


def _document(**changes: Any) -> dict[str, Any]:
    keys = {
        "foreground_intensity_properties_per_channel": {"0": STATISTICS},
        "median_relative_size_after_cropping": 0.75,
        "shapes_after_crop": [[10, 20, 30], [11, 20, 30]],
        "spacings": [[2.5, 0.8, 0.8], [999, 1, 1]],
    }
    return {key: value for key, value in {**keys, **changes}.items() if value is not None}


def test_every_real_fingerprint_is_read_and_kept_as_it_is(shared: Path, tmp_path: Path) -> None:
    with (shared / "corpus" / "INDEX.tsv").open(encoding="utf-8") as index:
        rows = list(csv.DictReader(index, delimiter="\t"))
    files = [shared / "corpus" / row["file"] for row in rows if row["kind"] == "fingerprint"]
    files += sorted((shared / "oracle").rglob("*fingerprint.json"))
    assert len(files) > 25
    for path in files:
        fingerprint = Fingerprint.load(path)
        fingerprint.save(tmp_path / "again.json")
        again = json.loads((tmp_path / "again.json").read_text())
        assert json.dumps(again) == json.dumps(json.loads(path.read_text())), path
        assert len(fingerprint.spacings) == len(fingerprint.shapes_after_crop)


def test_it_is_written_as_nnunet_writes_it(shared: Path, tmp_path: Path) -> None:
    path = shared / "oracle" / "Dataset501_BrainMR" / "dataset_fingerprint.json"
    Fingerprint.load(path).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_its_values_are_at_hand() -> None:
    fingerprint = Fingerprint.from_dict(_document())
    assert fingerprint.shapes_after_crop == ((10, 20, 30), (11, 20, 30))
    assert fingerprint.spacings[0] == (2.5, 0.8, 0.8)
    assert fingerprint.foreground_intensity_properties_per_channel["0"].std == 1.5


def test_a_dataset_without_foreground_has_no_statistics(tmp_path: Path) -> None:
    nothing = dict.fromkeys(STATISTICS, np.nan)
    path = tmp_path / "dataset_fingerprint.json"
    Fingerprint.from_dict(
        _document(foreground_intensity_properties_per_channel={"0": nothing})
    ).save(path)
    assert "NaN" in path.read_text()
    again = Fingerprint.load(path)
    assert np.isnan(again.foreground_intensity_properties_per_channel["0"].mean)


def test_the_digest_is_that_of_the_content_and_not_of_its_form() -> None:
    document = _document()
    turned = dict(reversed(document.items()))
    assert Fingerprint.from_dict(document).digest() == Fingerprint.from_dict(turned).digest()
    other = _document(median_relative_size_after_cropping=0.76)
    assert Fingerprint.from_dict(other).digest() != Fingerprint.from_dict(document).digest()
    assert len(Fingerprint.from_dict(document).digest()) == 64


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"spacings": None}, "spacings"),
        ({"spacings": []}, "spacings"),
        ({"spacings": [[1, 1, 1]]}, "shapes_after_crop"),
        ({"spacings": [[1, 1, 1], [1, 0, 1]]}, "spacings[1][1]"),
        ({"spacings": [[1, 1, 1], [1, float("nan"), 1]]}, "spacings[1][1]"),
        ({"spacings": [[1, 1, 1], [1, float("inf"), 1]]}, "spacings[1][1]"),
        ({"spacings": [[1, 1, 1], [1, "1", 1]]}, "spacings[1][1]"),
        ({"spacings": [[1, 1, 1], [1, 1]]}, "spacings[1][2]"),
        ({"shapes_after_crop": [[1, 1, 1], [1, -2, 1]]}, "shapes_after_crop[1][1]"),
        ({"shapes_after_crop": [[1, 1, 1], [1, 2.5, 1]]}, "shapes_after_crop[1][1]"),
        ({"median_relative_size_after_cropping": 1.5}, "median_relative_size_after_cropping"),
        (
            {"foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}}},
            "foreground_intensity_properties_per_channel.0",
        ),
    ],
)
def test_damage_is_told_with_file_and_key(
    changes: dict[str, Any], key: str, tmp_path: Path
) -> None:
    path = tmp_path / "dataset_fingerprint.json"
    path.write_text(json.dumps(_document(**changes)))
    with pytest.raises(FingerprintError) as caught:
        Fingerprint.load(path)
    assert str(path) in str(caught.value)
    assert key in str(caught.value)


def test_many_faults_are_counted() -> None:
    with pytest.raises(FingerprintError, match="9 more faults"):
        Fingerprint.from_dict(_document(spacings=[[0, 0, 0]] * 4))


def test_json_of_another_kind_is_an_error() -> None:
    with pytest.raises(FingerprintError, match="JSON object"):
        Fingerprint.from_dict([])  # type: ignore[arg-type]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        Fingerprint.load(tmp_path / "dataset_fingerprint.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spacings", [[1e-300, 1.0, 1.0]]),
        ("spacings", [[1.0, 1e300, 1.0]]),
        ("shapes_after_crop", [[10**400, 5, 5]]),
    ],
)
def test_sizes_that_no_image_has_are_refused_with_their_key(key: str, value: object) -> None:
    with pytest.raises(FingerprintError, match=key) as error:
        Fingerprint.from_dict(_document(**{key: value}))
    assert len(str(error.value)) < 1000


def test_it_is_made_and_left_unchanged_in_our_words() -> None:
    with pytest.raises(FingerprintError) as caught:
        Fingerprint(**_document(spacings=None, shapes_after_crop=[[1, 2.5, 3]]))
    assert str(caught.value) == (
        "Fingerprint: spacings is missing; shapes_after_crop[0][1] must be an integer, not 2.5."
    )
    fingerprint = Fingerprint(**_document())
    assert fingerprint.to_dict() == _document()
    for change in (
        lambda: setattr(fingerprint, "spacings", ()),
        lambda: fingerprint.model_copy(update={"spacings": ()}),
    ):
        with pytest.raises(UsageError, match=r"Fingerprint\.spacings cannot be changed\. Make"):
            change()
    with pytest.raises(UsageError, match=r"^IntensityProperties: max is missing; mean is"):
        IntensityProperties()  # type: ignore[call-arg]
