"""Fixtures that more than one folder of tests uses."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

if "RESENC_PLANS_GPU" not in os.environ:  # which `first_hour.py measure checks` sets
    # Bit for bit is a promise for CPUs, so tests compute there, on a machine with a GPU too.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

ROOT = Path(__file__).parent.parent


def peer_interpreter() -> Path:
    """Where the interpreter with the real nnU-Net should be."""
    default = ROOT / ".venv-peer" / "bin" / "python"
    return Path(os.environ.get("RESENC_PLANS_PEER", default))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip without it."""
    folder = Path(os.environ.get("RESENC_PLANS_SHARED", ROOT.parent / "shared"))
    if not (folder / "oracle").is_dir():
        pytest.skip(f"needs the shared data, and there is none at {folder}")
    return folder


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """The interpreter of the environment that has the real nnU-Net."""
    python = peer_interpreter()
    if not python.exists():
        pytest.skip(f"needs the real nnU-Net (make peer), and there is none at {python}")
    return python


@pytest.fixture
def peer(peer_python: Path, tmp_path: Path) -> Callable[..., str]:
    """Run Python code (text, or a path of a script) where the real nnU-Net is installed."""

    def run(code: str | Path, *arguments: str | Path) -> str:
        script = code if isinstance(code, Path) else tmp_path / "peer_script.py"
        if isinstance(code, str):
            script.write_text(code)
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("nnUNet_", "PYTHONPATH"))
        }
        environment["OMP_NUM_THREADS"] = "1"
        done = subprocess.run(
            [peer_python, script, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset and of a study that was run, with its report; not to be changed."""
    from resenc_plans import Study
    from tests.study.unattended.made_study import do_all, write_study

    folder = tmp_path_factory.mktemp("finished")
    path = write_study(folder)
    assert set(do_all(path)) == {0}
    Study.load(path).report()
    return folder


@pytest.fixture
def finished(finished_folder: Path, tmp_path: Path) -> Path:
    """The study.json of a copy of it."""
    folder = tmp_path / "copy"
    shutil.copytree(finished_folder, folder)
    return folder / "study" / "study.json"
