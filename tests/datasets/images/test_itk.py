"""ITK reads one file at a time, whatever thread asks."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from resenc_plans.datasets.images.images import can_read, read_label
from resenc_plans.preprocessing.worker_memory import read_header
from tests.datasets.made import label_array, write_image


def write_scaled(path: Path) -> None:
    """A NIfTI file whose voxels ITK scales, so that it reads the voxels too."""
    write_image(path, label_array(0))
    content = bytearray(path.read_bytes())
    content[112:116] = np.float32(2).tobytes()
    path.write_bytes(content)


def is_readable(path: Path) -> bool:
    return can_read(path, "SimpleITKIO")


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_label, "a.nii.gz"),
        (read_label, "scaled.nii"),
        (read_label, "a.mha"),
        (is_readable, "a.nrrd"),
        (read_header, "a.nii.gz"),
    ],
)
def test_two_threads_are_never_in_itks_reader_at_once(
    read: Callable[[Path], Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if name == "scaled.nii":
        write_scaled(path)
    else:
        write_image(path, label_array(0))
    inside, at_once, counting = 0, [0], threading.Lock()

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal inside
            with counting:
                inside += 1
                at_once.append(inside)
            time.sleep(0.02)
            try:
                return method(*arguments)
            finally:
                with counting:
                    inside -= 1

        return call

    for method in ("ReadImageInformation", "Execute"):
        original = getattr(SimpleITK.ImageFileReader, method)
        monkeypatch.setattr(SimpleITK.ImageFileReader, method, watched(original))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(read, [path] * 4))
    assert len(at_once) > 4
    assert max(at_once) == 1
