"""provenance.json, as a report's folder holds it, whoever wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import FileError
from resenc_plans.study.unattended.provenance import PROVENANCE_JSON, Provenance


@pytest.mark.parametrize(
    "run", [{}, {"settings": None, "taken_from": None, "files": ["a"]}, {"files": {"a": 1}}, []]
)
def test_runs_without_their_files_are_refused(run: Any, tmp_path: Path) -> None:
    document = {
        "versions": {},
        "study": {},
        "study_sha256": "",
        "datasets": {},
        "splits": {},
        "runs": {"a": run},
    }
    (tmp_path / PROVENANCE_JSON).write_text(json.dumps(document))
    with pytest.raises(FileError, match="does not say what a study was made from"):
        Provenance.load(tmp_path)
