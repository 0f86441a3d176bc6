"""Tasks of the Decathlon and of nnU-Net v1: the files that the real nnU-Net makes of them."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.datasets.conversion import convert_msd, convert_old_dataset
from tests.datasets.old_tasks import write_task

CONVERT = """
import os, sys
root, *tasks, old = sys.argv[1:]
for name in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{name}"] = root
from nnunetv2.dataset_conversion.convert_MSD_dataset import convert_msd_dataset
from nnunetv2.dataset_conversion.convert_raw_dataset_from_old_nnunet_format import convert
if __name__ == "__main__":
    for number, task in enumerate(tasks):
        convert_msd_dataset(task, 21 + number, 1)
    convert(old, "Dataset030_Old")
"""


def test_the_same_files_as_nnunets(
    peer: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    one, two = (
        write_task(tmp_path / f"Task0{channels}_Prostate", channels=channels) for channels in (1, 2)
    )
    old = write_task(tmp_path / "Task003_Prostate", channels=2, old=True)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()

    peer(CONVERT, theirs, one, two, old)
    convert_msd(one, ours, new_id=21)
    convert_msd(two, ours, new_id=22)
    convert_old_dataset(old, "Dataset030_Old", ours)

    assert contents(ours) == contents(theirs)


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder; what is compressed as it is unpacked."""
    return {
        path.relative_to(root).as_posix(): (
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
