import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.datasets.draws import Draws


@given(
    seed=st.integers(0, 2**32 - 1),
    bound=st.integers(1, 70_000) | st.sampled_from([2**20, 2**20 + 1, 2**31, 2**32]),
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=4),
)
def test_they_are_those_of_the_legacy_generator(seed: int, bound: int, lengths: list[int]) -> None:
    legacy = np.random.RandomState(seed)
    draws = Draws(seed, bound)
    for length in lengths:
        out = np.empty(length, dtype=np.int64)
        draws.choose_into(_Itself(), out)  # type: ignore[arg-type]
        assert np.array_equal(out, legacy.randint(0, bound, size=length, dtype=np.int64))


def test_blocks_join_without_a_seam() -> None:
    values = np.random.default_rng(0).normal(size=3001).astype(np.float32)
    out = np.empty(300_000, dtype=np.float32)
    Draws(1234, len(values)).choose_into(values, out)
    assert np.array_equal(out, np.random.RandomState(1234).choice(values, 300_000, replace=True))


class _Itself:
    """Stands for an array of all integers."""

    def take(self, indices: np.ndarray) -> np.ndarray:
        return indices
