from pathlib import Path

import pytest

from resenc_plans import estimate_cost
from tests.cost.configurations import of_oracle
from tests.networks.configurations import residual


def test_the_estimate_of_a_preset_carries_ranges_and_its_calibration(shared: Path) -> None:
    cost = estimate_cost(*of_oracle(shared, "KiTS", "nnUNetPlannerResEncL__24"))
    memory = cost.gpu_memory_gb
    assert memory.low < memory.expected < memory.high
    assert cost.hours is not None
    assert cost.hours.low < cost.hours.expected < cost.hours.high
    assert "A100 40 GB" in cost.calibration.name
    assert cost.parameters == 102_351_380


def test_many_heads_widen_the_range_downwards(shared: Path) -> None:
    config, channels, _ = of_oracle(shared, "KiTS", "nnUNetPlannerResEncL__24")
    cost = estimate_cost(config, channels, 118)
    assert not cost.is_calibrated
    assert cost.hours is None
    assert cost.gpu_memory_gb.low < 0.7 * cost.gpu_memory_gb.expected


def test_what_is_unlike_the_presets_has_no_hours_and_a_wider_range(shared: Path) -> None:
    cost = estimate_cost(*of_oracle(shared, "KiTS", "nnUNetPlannerResEncL__24", "2d"))
    assert not cost.is_calibrated
    assert cost.hours is None
    assert cost.gpu_memory_gb.high == pytest.approx(1.2 * cost.gpu_memory_gb.expected)


def test_gpus_share_the_batch_as_nnunet_does(shared: Path) -> None:
    config, channels, heads = of_oracle(shared, "ACDC", "nnUNetPlannerResEncL__24")
    alone = estimate_cost(config, channels, heads)
    of_three = estimate_cost(config, channels, heads, gpus=3)
    assert (config.batch_size, of_three.batch_size_per_gpu) == (10, 4)
    assert of_three.peak_bytes < 0.5 * alone.peak_bytes


def test_no_time_is_given_for_a_network_so_small_that_data_loading_decides() -> None:
    cost = estimate_cost(residual(), 1, 2)
    assert cost.is_calibrated
    assert cost.hours is None


def test_prediction_needs_more_on_the_device_and_in_export_the_more_heads_there_are(
    shared: Path,
) -> None:
    config, channels, heads = of_oracle(shared, "AMOS", "nnUNetPlannerResEncL__24")
    few = estimate_cost(config, channels, heads).inference
    many = estimate_cost(config, channels, 10 * heads).inference
    assert few.shape == tuple(round(n) for n in config.median_image_size_in_voxels)
    assert many.device_bytes > 2 * few.device_bytes
    assert many.export_bytes > 5 * few.export_bytes


def test_a_2d_configuration_predicts_all_slices_of_the_median_image(shared: Path) -> None:
    config, channels, heads = of_oracle(shared, "KiTS", "nnUNetPlannerResEncL__24", "2d")
    assert len(estimate_cost(config, channels, heads).inference.shape) == 3
