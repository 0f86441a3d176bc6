"""Primus networks; tests/interop/test_trainers.py compares how they are built with nnU-Net."""

import sys

import pytest

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.build import build_network
from resenc_plans.plans.known_networks import PRIMUS_MODULE, check_patch
from resenc_plans.plans.trained_configuration import trained_configuration
from tests.networks.configurations import plain, residual

TRAINER = "nnUNet_PrimusV3S_Trainer"


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PRIMUS_MODULE, None)
    config = trained_configuration(plain(), TRAINER)
    with pytest.raises(ConfigurationError, match=r"PrimusV3S needs the extra primus: pip install"):
        build_network(config, 1, 3)


def test_a_package_that_does_not_fit_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("resenc_plans.networks.baselines.primus.import_module", broken)
    with pytest.raises(ConfigurationError, match=r"pip install .* \(operator torchvision::nms"):
        build_network(trained_configuration(plain(), TRAINER), 1, 3)


def test_patches_must_be_multiples_of_eight() -> None:
    config = trained_configuration(residual(), TRAINER)
    check_patch(config)
    with pytest.raises(ConfigurationError, match="patch_size"):
        check_patch(config.replaced(patch_size=[16, 12, 16]))


def test_only_images_of_three_axes_are_taken() -> None:
    with pytest.raises(ConfigurationError, match="for images of 3 axes"):
        trained_configuration(plain(2), TRAINER)
