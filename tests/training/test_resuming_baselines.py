"""Networks of every class, trained as their recipes say, go on bit for bit after a stop."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.networks.baselines import cotr, nnformer
from resenc_plans.planning.baselines.baseline import Baseline
from resenc_plans.planning.baselines.registry import baselines, find_baseline
from resenc_plans.planning.baselines.sizes import Sizes
from resenc_plans.planning.fitting import planned_network
from resenc_plans.planning.presets import find_preset
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from tests.networks.configurations import unet_arguments
from tests.training.resuming import assert_resumes_bit_for_bit

pytestmark = pytest.mark.slow

SHORT = TrainingSettings(workers=0, precision="fp32")

TINY: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "nnu-net": ((8, 16, 16), unet_arguments(3, 2, n_conv_per_stage=1)),
    "resenc-m": ((8, 16, 16), unet_arguments(3, 2, n_blocks_per_stage=1)),
    "mednext-l-k3": ((32, 16, 16), {"variant": "S", "width": 4}),
    "stu-net-s": ((8, 16, 16), {"width": 4, "strides": [1, [1, 2, 2], 2, 1, 1, 1]}),
    "swin-unetr": ((64, 32, 32), {"feature_size": 12, "depths": [1] * 4, "window_size": 2}),
    "nnformer": ((32, 32, 32), {"patch_size": [32, 32, 32]}),
    "cotr": ((16, 32, 32), {"exchanged_axes": True}),
    "u-mamba-enc": (
        (8, 16, 16),
        {"features_per_stage": [4, 8], "kernel_sizes": 3, "strides": [1, 2], "variant": "enc"},
    ),
    "auto3dseg-segresnet": (
        (16, 16, 16),
        {"init_filters": 8, "blocks_down": [1, 1, 1], "norm": "INSTANCE"},
    ),
    "auto3dseg-dints": ((16, 16, 8), {"channel_mul": 0.1, "num_blocks": 2, "num_depths": 2}),
}
"""Of each class one baseline: a patch, and the arguments of a small network."""


def class_of(baseline: Baseline) -> str:
    preset = find_preset(baseline.sizes.preset)
    unet = planned_network((1.0, 1.0, 1.0), (64, 64, 64), preset).unet
    sizes = Sizes((1.0, 1.0, 1.0), (64, 64, 64), 2, unet)
    return str(baseline.network(sizes)["network_class_name"])


def test_no_class_of_network_is_left_out() -> None:
    tiny = {class_of(find_baseline(name)) for name in TINY}
    assert tiny == {class_of(baseline) for baseline in baselines()}


@pytest.mark.parametrize("name", TINY)
def test_a_baseline_goes_on_bit_for_bit(
    name: str,
    preprocessed: Path,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    baseline, (patch_size, arguments) = find_baseline(name), TINY[name]
    if baseline.extra and not find_spec(baseline.extra):
        pytest.skip(f"without the extra {baseline.extra}")
    if name == "cotr":
        monkeypatch.setattr(cotr, "WIDTHS", (4, 6, 12, 12))
        monkeypatch.setattr(cotr, "LAYERS", 2)
        monkeypatch.setattr(cotr, "FEED_FORWARD", 16)
    if name == "nnformer":
        narrow = replace(nnformer.VARIANTS["tumor"], embedding=24)
        monkeypatch.setitem(nnformer.VARIANTS, "tumor", narrow)
    training = baseline.training_document
    if "warmup_epochs" in training.get("schedule", {}):
        training["schedule"]["warmup_epochs"] = 1
    plan = Plans.load(preprocessed / "nnUNetResEncUNetMPlans.json")
    plan.derive(
        name,
        from_="3d_fullres",
        batch_size=1,
        patch_size=list(patch_size),
        keep_topology=True,
        architecture={
            "network_class_name": class_of(baseline),
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]
            if "conv_op" in arguments
            else [],
        },
        training=training,
    )
    plan.save(preprocessed / f"{plan.name}.json")
    config = plan.resolve(name)
    assert_resumes_bit_for_bit(config, dataset, SHORT, tmp_path)
