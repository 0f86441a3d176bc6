"""Whether two results were measured against the same references."""

import filecmp
import os
from pathlib import Path

import numpy as np

from resenc_plans.errors import DatasetError
from resenc_plans.evaluation.summary import CaseMetrics
from resenc_plans.study.results import MethodResult


def differing_references(first: MethodResult, second: MethodResult) -> tuple[str, ...]:
    """The common cases whose references differ, sorted.

    References differ if a label has another number of voxels. If both can be opened and are not the
    same file, they are compared byte by byte, and where bytes differ, voxel by voxel.
    """
    return tuple(
        case
        for case in sorted(first.cases.keys() & second.cases.keys())
        if _differ(first.cases[case], second.cases[case])
    )


def without_references(result: MethodResult) -> bool:
    """Whether a reference cannot be opened where summary.json says."""
    return any(not os.path.isfile(case.reference_file) for case in result.cases.values())  # noqa: PTH113


def _differ(one: CaseMetrics, other: CaseMetrics) -> bool:
    shared = one.metrics.keys() & other.metrics.keys()
    if any(one.metrics[label]["n_ref"] != other.metrics[label]["n_ref"] for label in shared):
        return True
    paths = Path(one.reference_file), Path(other.reference_file)
    if paths[0] == paths[1]:
        return False
    try:
        return not (
            paths[0].samefile(paths[1])
            or filecmp.cmp(*paths, shallow=False)
            or _same_voxels(*paths)
        )
    except (OSError, DatasetError):
        return False


def _same_voxels(first: Path, second: Path) -> bool:
    from resenc_plans.datasets.images.images import read_label

    return np.array_equal(read_label(first).array, read_label(second).array)
