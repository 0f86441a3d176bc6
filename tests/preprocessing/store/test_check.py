"""A check of stored cases takes little memory, whatever damaged files claim."""

import tracemalloc
from pathlib import Path

import blosc2
import numpy as np
import pytest

from resenc_plans.errors import PreprocessingError
from resenc_plans.preprocessing.store.case_store import CaseStore, write_case
from resenc_plans.preprocessing.store.check import check_stored_case
from tests.preprocessing.store.cases import PATCH, case


def test_labels_of_another_shape_are_not_read(tmp_path: Path) -> None:
    write_case(tmp_path, "a", case(), PATCH)
    path = tmp_path / "a_seg.b2nd"
    path.unlink()
    blosc2.zeros((1, 8, 10**7, 20), dtype=np.int16, chunks=(1, 8, 10**5, 20), urlpath=str(path))
    tracemalloc.start()
    try:
        with pytest.raises(PreprocessingError, match="a: the image has the shape"):
            check_stored_case(CaseStore(tmp_path), "a", None)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
