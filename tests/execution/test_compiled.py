"""Compiled loops where their machine code can be kept, and where not."""

from typing import Any

import numba.core.caching
import numpy as np
import pytest

from resenc_plans.execution.compiled import compiled


def total(values: Any) -> Any:
    result = 0.0
    for value in values:
        result += value
    return result


def test_compiled_loops_give_what_python_gives() -> None:
    assert compiled(total)(np.arange(5.0)) == 10


def test_nothing_has_to_be_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    assert compiled(total)(np.arange(5.0)) == 10
