import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.conftest import ROOT
from tests.loaded_modules import modules_after


def test_facts_and_findings_are_printed(run: Callable[..., Done]) -> None:
    done = run("doctor")
    assert done.code == 0
    rows = dict(line.split("\t", 1) for line in done.out.splitlines() if "\t" in line)
    assert {"python", "CPUs", "cuDNN", "driver", "3D convolution", "torch"} <= set(rows)
    assert rows["$nnUNet_raw"] == "not set"
    assert "mamba_ssm" in rows["selective scan"]
    printed = [what for what in rows if not what.startswith(("GPU ", "  process"))]
    assert _shown_in_docs() == printed[: printed.index("$nnUNet_raw") + 1]


def _shown_in_docs() -> list[str]:
    """The rows of the documentation's example, whose values are those of another machine."""
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    lines = text.partition("$ resenc-plans doctor\n")[2].partition("\n...")[0].splitlines()
    return [re.split(r" {2,}| (?=none$)", line)[0] for line in lines]


def test_json_has_the_same(run: Callable[..., Done]) -> None:
    document = json.loads(run("doctor", "--format", "json").out)
    assert document["cpus"] >= 1
    assert document["convolution"]["device"] == "cpu"
    assert all({"severity", "id", "message"} == set(f) for f in document["findings"])


def test_what_cannot_work_is_exit_code_1(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "missing"))
    done = run("doctor")
    assert done.code == 1
    assert "which is not a folder" in done.out


def test_help_needs_no_torch() -> None:
    assert not modules_after("doctor", "--help") & {"torch", "numpy"}
