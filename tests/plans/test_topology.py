import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans import Plans
from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.topology import (
    MIN_EDGE,
    divisor_of,
    overrides_for_patch_size,
    padded,
    strides_and_kernels,
    why_no_lowres,
)
from tests.plans.documents import document


@given(
    st.lists(st.floats(0.2, 10), min_size=2, max_size=3),
    st.lists(st.integers(4, 600), min_size=3, max_size=3),
)
def test_strides_divide_the_padded_patch_and_keep_the_bottleneck(
    spacing: list[float], size: list[int]
) -> None:
    size = size[: len(spacing)]
    strides, kernels = strides_and_kernels(spacing, size)
    divisors = divisor_of(strides)
    for before, after, divisor in zip(size, padded(size, divisors), divisors, strict=True):
        assert after >= before
        assert after - before < divisor
        assert after % divisor == 0
        if divisor > 1:
            assert after // divisor >= MIN_EDGE
    assert len(kernels) == len(strides)


@given(st.lists(st.integers(8, 400), min_size=3, max_size=3))
def test_a_derived_patch_size_always_validates(size: list[int]) -> None:
    plan = Plans.from_dict(document())
    changes = overrides_for_patch_size(plan.resolve("3d_fullres"), size)
    plan.derive("x", from_="3d_fullres", **changes)
    assert [f for f in plan.validate_rules() if f.severity == "error"] == []


def test_the_topology_of_a_foreign_network_is_not_guessed() -> None:
    content = document()
    content["configurations"]["3d_fullres"]["architecture"] = {
        "network_class_name": "mylab.Net",
        "arch_kwargs": {},
    }
    with pytest.raises(ConfigurationError, match=r"mylab\.Net is not known"):
        overrides_for_patch_size(Plans.from_dict(content).resolve("3d_fullres"), (64, 64, 64))


def test_why_there_is_no_lowres_is_said_of_an_image_without_voxels_too() -> None:
    content = document()
    content["configurations"]["3d_fullres"]["median_image_size_in_voxels"] = [0, 80, 80]
    assert "3d_lowres" in why_no_lowres(Plans.from_dict(content).resolve("3d_fullres"))
