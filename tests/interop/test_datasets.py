"""Labels, readers, images, cases and splits, compared with the real nnU-Net."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from resenc_plans import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.images import read_image, read_label, write_label
from resenc_plans.datasets.images.reader_choice import reader_writer_name
from resenc_plans.datasets.images.readers import READERS, READERS_BY_ENDING
from resenc_plans.datasets.labels import Labels
from resenc_plans.datasets.splits import make_splits
from resenc_plans.errors import ResencPlansError
from tests.datasets.made import document, image_array, label_array, write_dataset, write_image

Peer = Callable[..., str]

ANSWER = """
import json, sys
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.utilities.crossval_split import generate_crossval_split
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets
from nnunetv2.utilities.label_handling.label_handling import LabelManager

def labels(question):
    found = LabelManager(question["labels"], question["order"])
    return {
        "all": [int(v) for v in found.all_labels],
        "foreground": [int(v) for v in found.foreground_labels],
        "regions": found.all_regions,
        "ignore": found.ignore_label,
        "heads": found.num_segmentation_heads,
    }

def reader(question):
    return determine_reader_writer_from_dataset_json(*question, verbose=False).__name__

def cases(question):
    found = get_filenames_of_train_images_and_targets(question)
    return {str(name): case for name, case in found.items()}

def splits(question):
    return generate_crossval_split(question["names"], n_splits=question["folds"])

def answer(kind, question):
    try:
        return globals()[kind](question)
    except Exception:
        return "error"

if __name__ == "__main__":
    with open(sys.argv[1]) as stream:
        answers = [answer(*question) for question in json.load(stream)]
    with open(sys.argv[2], "w") as stream:
        json.dump(answers, stream)
"""

READ = """
import pickle, sys
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
results = []
with open(sys.argv[1], "rb") as stream:
    questions = pickle.load(stream)
for reader, images, label, written in questions:
    io = recursive_find_reader_writer_by_name(reader)()
    found = io.read_images(images), io.read_seg(label)
    io.write_seg(found[1][0][0].astype(int), written, found[0][1])
    results.append(found)
with open(sys.argv[2], "wb") as stream:
    pickle.dump(results, stream)
"""

TILTED = (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)


def ask(peer: Peer, folder: Path, questions: list[Any]) -> list[Any]:
    (folder / "questions.json").write_text(json.dumps(questions))
    peer(ANSWER, folder / "questions.json", folder / "answers.json")
    answers: list[Any] = json.loads((folder / "answers.json").read_text())
    return answers


@st.composite
def questions_about_labels(draw: st.DrawFn) -> dict[str, Any]:
    """Labels with regions, an ignore label and an order, right more often than wrong."""
    values = st.integers(0, 5)
    named = draw(
        st.dictionaries(
            st.sampled_from("abcde"),
            values | st.lists(values, min_size=1, max_size=3),
            max_size=5,
        )
    )
    background = draw(st.sampled_from([0] * 12 + [1, [0], None]))
    labels = named if background is None else {**named, "background": background}
    flat = [v for value in named.values() for v in (value if isinstance(value, list) else [value])]
    highest = max([0, *flat])
    ignore = draw(st.sampled_from([None] * 6 + [highest + 1] * 3 + [highest, highest + 2]))
    if ignore is not None:
        labels["ignore"] = ignore
    length = sum(1 for value in named.values() if value != 0 and set(np.ravel(value)) != {0})
    length += draw(st.sampled_from([0] * 6 + [1]))
    order = None if draw(st.sampled_from([False] * 6 + [True])) else list(range(1, length + 1))
    return {"labels": labels, "order": order}


def _our_labels(question: dict[str, Any]) -> Any:
    keys = document(labels=question["labels"], regions_class_order=question["order"])
    try:
        found = Labels.from_dataset(DatasetJson.from_dict(keys))
    except ResencPlansError:
        return "error"
    answer = {
        "all": found.all_labels,
        "foreground": found.foreground_labels,
        "regions": found.regions,
        "ignore": found.ignore_label,
        "heads": found.num_heads,
    }
    return json.loads(json.dumps(answer))


def test_labels_mean_what_nnunet_s_label_manager_says(peer: Peer, tmp_path: Path) -> None:
    questions: list[dict[str, Any]] = []

    @settings(
        max_examples=500,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(questions_about_labels())
    def collect(question: dict[str, Any]) -> None:
        questions.append(question)

    collect()
    answers = ask(peer, tmp_path, [["labels", question] for question in questions])
    for question, answer in zip(questions, answers, strict=True):
        assert _our_labels(question) == answer, question
    with_regions = [a for a in answers if a != "error" and a["regions"]]
    assert len(questions) >= 400
    assert len(with_regions) > 20
    assert 50 < answers.count("error") < 400


def _pictures(folder: Path) -> list[Path]:
    """Pictures of every kind that nnU-Net's readers tell apart."""
    tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")
    random = np.random.default_rng(0)
    grey = random.integers(0, 255, (12, 9)).astype(np.uint8)
    colour = random.integers(0, 255, (12, 9, 3)).astype(np.uint8)
    palette = Pillow.fromarray(grey % 4)
    palette.putpalette([int(value) for value in random.integers(0, 255, 768)])
    for ending in ("png", "bmp"):
        Pillow.fromarray(grey).save(folder / f"grey.{ending}")
        Pillow.fromarray(colour).save(folder / f"colour.{ending}")
        Pillow.fromarray(grey > 100).save(folder / f"bilevel.{ending}")
        palette.save(folder / f"palette.{ending}")
    Pillow.fromarray(random.integers(0, 60000, (12, 9)).astype(np.uint16)).save(folder / "16.png")
    Pillow.fromarray(random.integers(0, 255, (12, 9, 4)).astype(np.uint8)).save(folder / "a.png")
    tifffile.imwrite(folder / "grey.tif", grey)
    tifffile.imwrite(folder / "colour.tif", colour, photometric="rgb")
    tifffile.imwrite(folder / "float.tif", random.random((12, 9)).astype(np.float32))
    tifffile.imwrite(folder / "planes.tif", np.stack([grey] * 3), photometric="minisblack")
    return sorted(path for path in folder.iterdir())


def test_the_reader_is_the_one_that_nnunet_picks(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    examples = _pictures(tmp_path / "pictures")
    tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")
    tifffile.imwrite(tmp_path / "stack.tif", image_array(0))
    tifffile.imwrite(tmp_path / "stack.tiff", image_array(0))
    examples += [tmp_path / "stack.tif", tmp_path / "stack.tiff"]
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        write_image(tmp_path / f"volume{ending}", image_array(0))
        examples.append(tmp_path / f"volume{ending}")
    write_image(tmp_path / "plane.nii.gz", image_array(0)[0], spacing=(1, 1))
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    examples += [tmp_path / "plane.nii.gz", tmp_path / "broken.nii.gz"]
    questions: list[tuple[dict[str, Any], str | None]] = [
        (document(file_ending="".join(path.suffixes)), str(path)) for path in examples
    ]
    for ending in (*READERS_BY_ENDING, ".NII.GZ", ".jpg", ".mhd", "nii.gz"):
        questions.append((document(file_ending=ending), None))
    for reader in (*READERS, "None", "NoSuchReader"):
        questions.append((document(overwrite_image_reader_writer=reader), None))
    answers = ask(peer, tmp_path, [["reader", question] for question in questions])
    for (keys, example), answer in zip(questions, answers, strict=True):
        try:
            ours = reader_writer_name(
                DatasetJson.from_dict(keys), Path(example) if example else None
            )
        except ResencPlansError:
            ours = "error"
        assert ours == answer, (keys, example)


def test_arrays_spacings_and_properties_are_those_of_nnunet_s_readers(
    peer: Peer, tmp_path: Path
) -> None:
    questions = []
    for reader in ("SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"):
        for ending in (".nii.gz", *([".nrrd", ".mha"] if reader == "SimpleITKIO" else [])):
            stem = tmp_path / f"{reader}{ending[1:4]}"
            images = [Path(f"{stem}_{channel:04}{ending}") for channel in range(2)]
            for seed, path in enumerate(images):
                array = image_array(seed) if seed else image_array(seed) / np.float32(3)
                write_image(path, array, origin=(1, 2, 3), direction=TILTED)
            label = Path(f"{stem}{ending}")
            write_image(label, label_array(0), origin=(1, 2, 3), direction=TILTED)
            questions.append((reader, images, label, Path(f"{stem}_written{ending}")))
    (tmp_path / "pictures").mkdir()
    for path in _pictures(tmp_path / "pictures"):
        written = tmp_path / f"written_{path.name}"
        questions.append(("NaturalImage2DIO", [path], path, written))
    tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")
    for name in ("stack_0000.tif", "stack_0001.tif", "stack.tif"):
        tifffile.imwrite(tmp_path / name, label_array(len(name)))
    (tmp_path / "stack.json").write_text('{"spacing": [2, 0.5, 0.25]}')
    images = [tmp_path / "stack_0000.tif", tmp_path / "stack_0001.tif"]
    written = tmp_path / "written_stack.tif"
    questions.append(("Tiff3DIO", images, tmp_path / "stack.tif", written))

    as_text = [
        (reader, [str(path) for path in images], str(label), str(written))
        for reader, images, label, written in questions
    ]
    (tmp_path / "questions.pkl").write_bytes(pickle.dumps(as_text))
    peer(READ, tmp_path / "questions.pkl", tmp_path / "answers.pkl")
    answers = pickle.loads((tmp_path / "answers.pkl").read_bytes())
    for question, (their_image, their_label) in zip(questions, answers, strict=True):
        reader, images, label, written = question
        ours = read_image(images, reader)
        assert np.array_equal(ours.array, their_image[0]), question
        # nibabel recomputes a reoriented image's spacing from its affine, in single precision.
        tolerance = 1e-6 if reader == "NibabelIOWithReorient" else 0
        assert np.allclose(ours.spacing, their_image[1]["spacing"], rtol=tolerance, atol=0), (
            question
        )
        _assert_same_properties(ours.properties, their_image[1])
        our_label = read_label(label, reader)
        assert np.array_equal(our_label.array, their_label[0]), question
        again = written.with_name(f"again_{written.name}")
        write_label(our_label.array[0].astype(int), again, ours.properties)
        _assert_same_file(again, written, reader)


def _assert_same_properties(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if isinstance(value, dict):
            _assert_same_properties(ours[key], value)
        else:
            np.testing.assert_allclose(ours[key], value, atol=1e-6)


def _assert_same_file(ours: Path, theirs: Path, reader: str) -> None:
    image, expected = read_label(ours, reader), read_label(theirs, reader)
    assert image.array.dtype == expected.array.dtype
    assert np.array_equal(image.array, expected.array)
    if "IO" in reader and not reader.startswith(("Natural", "Tiff")):
        on_disk = [SimpleITK.ReadImage(str(path)) for path in (ours, theirs)]
        for get in ("GetSpacing", "GetOrigin", "GetDirection"):
            values = [getattr(image, get)() for image in on_disk]
            np.testing.assert_allclose(values[0], values[1], atol=1e-5)


def test_cases_are_listed_as_nnunet_lists_them(peer: Peer, tmp_path: Path, shared: Path) -> None:
    odd = write_dataset(tmp_path / "odd", cases=3)
    for name in ("B_0000.nii.gz", "b_0000.nii.gz", "a_b_0001.nii.gz", "b_0000.nrrd"):
        write_image(odd / "imagesTr" / name, image_array(0))
    listed = tmp_path / "listed"
    listed.mkdir()
    files = {"b": {"images": ["x/b.nii.gz", "../c.nii.gz"], "label": "/far/b.nii.gz"}}
    (listed / "dataset.json").write_text(json.dumps(document(dataset=files)))
    folders = [odd, listed, *sorted((shared / "data").iterdir())]
    answers = ask(peer, tmp_path, [["cases", str(folder)] for folder in folders])
    for folder, answer in zip(folders, answers, strict=True):
        ours = {
            case.name: {"images": [str(path) for path in case.images], "label": str(case.label)}
            for case in Dataset.load(folder).cases
        }
        assert ours == answer
        assert list(ours) == list(answer)


def test_folds_are_nnunet_s_for_any_number_of_cases(peer: Peer, tmp_path: Path) -> None:
    questions: list[dict[str, Any]] = [
        {"names": [f"case_{i:03}" for i in range(count)], "folds": folds}
        for count, folds in ((5, 5), (7, 5), (23, 5), (100, 5), (12, 3), (9, 2), (201, 10))
    ]
    answers = ask(peer, tmp_path, [["splits", question] for question in questions])
    for question, answer in zip(questions, answers, strict=True):
        splits = make_splits(question["names"], question["folds"])
        assert [split.to_dict() for split in splits] == answer
