"""Run the command line in a folder of its own."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans import Plans
from resenc_plans.datasets.demo import write_phantom
from tests.evaluation.label_folders import write_dataset_json, write_labels
from tests.plans.documents import document as plans_document

NAME = "nnUNetResEncUNetMPlans"
"""The plans that stand in the folder `here`."""


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Done]]:
    """Run a command in this process: `run("show", "-p", path)`."""
    from resenc_plans.cli.app import main

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)

    def call(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["resenc-plans", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(code, captured.out, captured.err)

    yield call
    library = logging.getLogger("resenc_plans")
    for handler in list(library.handlers):
        library.removeHandler(handler)
        handler.close()
    library.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom dataset with its fingerprint; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("phantom") / "Dataset900_Phantom"
    write_phantom(folder, cases=3)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("nnUNet_")}
    subprocess.run(
        [sys.executable, "-m", "resenc_plans", "fingerprint", "-d", folder],
        check=True,
        capture_output=True,
        env=environment,
    )
    return folder


@pytest.fixture
def dataset(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with dataset.json and fingerprint of the phantom (no images); one stands in it."""
    folder = tmp_path / phantom.name
    folder.mkdir()
    for name in ("dataset.json", "dataset_fingerprint.json"):
        (folder / name).write_bytes((phantom / name).read_bytes())
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one plans file; one stands in it."""
    Plans.from_dict(plans_document()).save(tmp_path / f"{NAME}.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    """Two cases with predictions (one with a speck), references, images and a dataset.json."""
    write_dataset_json(tmp_path / "dataset.json", {"background": 0, "liver": 1, "tumour": 2}, None)
    for case in ("a", "b"):
        reference = np.zeros((6, 8, 10), np.uint8)
        reference[1:4, 1:5, 1:6] = 1
        reference[2:3, 2:4, 2:4] = 2
        prediction = reference.copy()
        prediction[5, 7, 9] = 1
        write_labels(tmp_path / "labelsTr" / f"{case}.nii.gz", reference)
        write_labels(tmp_path / "pred" / f"{case}.nii.gz", prediction)
        write_labels(
            tmp_path / "imagesTr" / f"{case}_0000.nii.gz", reference.astype(np.float32) * 100
        )
    return tmp_path
