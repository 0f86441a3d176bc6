"""Whether two results have the same references."""

from pathlib import Path

import numpy as np

from resenc_plans.study.references import differing_references, without_references
from resenc_plans.study.results import MethodResult, Source, read_results
from tests.evaluation.label_folders import write_labels
from tests.study.made_results import write_summary


def made(folder: Path, array: np.ndarray | None, spacing: float = 1.0) -> MethodResult:
    """A result of one case, with its reference in a folder of its own."""
    write_summary(folder, {"a": [0.5, 0.5]})
    text = (folder / "summary.json").read_text()
    (folder / "summary.json").write_text(text.replace("references/", f"{folder}/references/"))
    if array is not None:
        write_labels(folder / "references" / "a.nii.gz", array, (spacing, 1.0, 1.0))
    [result] = read_results([Source(folder)])
    return result


LABELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3


def test_other_bytes_with_the_same_labels_are_the_same_reference(tmp_path: Path) -> None:
    one, other = made(tmp_path / "a", LABELS), made(tmp_path / "b", LABELS.astype(np.int16))
    assert differing_references(one, other) == ()
    assert not without_references(one)


def test_other_labels_of_the_same_number_differ(tmp_path: Path) -> None:
    one, other = made(tmp_path / "a", LABELS), made(tmp_path / "b", np.roll(LABELS, 1))
    assert differing_references(one, other) == ("a",)


def test_references_that_cannot_be_opened_are_taken_as_the_same(tmp_path: Path) -> None:
    one, other = made(tmp_path / "a", LABELS), made(tmp_path / "b", None)
    assert differing_references(one, other) == ()
    assert without_references(other)
