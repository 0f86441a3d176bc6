import pytest

from resenc_plans.plans.patch_rule import PatchRule


@pytest.mark.parametrize(
    ("patch_size", "nearest"),
    [
        ((96, 96, 96), (96, 96, 96)),
        ((90, 100, 5), (96, 96, 32)),
        ((32, 32, 32), (32, 32, 64)),
        ((40, 32, 32), (64, 32, 32)),
        ((1, 1, 1), (32, 32, 64)),
    ],
)
def test_the_nearest_patch_fits(patch_size: tuple[int, ...], nearest: tuple[int, ...]) -> None:
    rule = PatchRule((32, 32, 32), lowest_voxels=2)
    assert rule.nearest(patch_size) == nearest
    assert rule.fault(nearest) is None
    assert (rule.fault(patch_size) is None) == (patch_size == nearest)


def test_a_fault_names_the_nearest_patch() -> None:
    rule = PatchRule((16, 32, 32), lowest_voxels=2)
    assert "not a multiple of [16, 32, 32]" in (rule.fault((24, 32, 64)) or "")
    assert "lowest stage has one voxel" in (rule.fault((16, 32, 32)) or "")
    assert "nearest that it takes: [32, 32, 32]" in (rule.fault((16, 32, 32)) or "")
    assert PatchRule((16, 16, 16)).fault((16, 16, 16)) is None


def test_the_nearest_size_only_grows_where_the_lowest_stage_is_too_small() -> None:
    rule = PatchRule((16, 16, 16), lowest_voxels=30)
    assert rule.nearest((48, 16, 48)) == (48, 16, 160)
