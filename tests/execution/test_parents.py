"""A process ends with the one that started it, also where Linux does not see to it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

CHILD = """
import os, sys, time
from resenc_plans.execution import parents
if sys.argv[1] == "without a signal":
    parents._dies_by_signal = lambda: False
    parents._SECONDS_BETWEEN_LOOKS = 0.05
parents.end_with_parent(int(sys.argv[2]))
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:], str(os.getpid())])
"""


@pytest.mark.parametrize("way", ["by a signal", "without a signal"])
def test_a_child_ends_when_its_parent_is_killed(way: str, tmp_path: Path) -> None:
    child_code = tmp_path / "child.py"
    child_code.write_text(CHILD)
    command = [sys.executable, "-c", PARENT, str(child_code), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert alive == []


def test_a_child_whose_parent_has_ended_before_ends_at_once(tmp_path: Path) -> None:
    child_code = tmp_path / "child.py"
    child_code.write_text(CHILD)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ended = subprocess.run(
        [sys.executable, str(child_code), "by a signal", str(gone.pid)], timeout=60, check=False
    )
    assert ended.returncode == 1
