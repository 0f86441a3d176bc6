"""Samples that a device augments are those that the CPU augments, sample for sample."""

import logging
import os
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Never

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from scipy.stats import kstest
from torch import Tensor

from resenc_plans.errors import DeviceError
from resenc_plans.training.batches import augmentation, device_augmentation, drawn_samples, samples
from resenc_plans.training.batches.batched_transforms import BATCHED
from resenc_plans.training.batches.batches import PatchBatches
from resenc_plans.training.batches.device_augmentation import DeviceAugmentation
from resenc_plans.training.batches.drawn import NOISE
from resenc_plans.training.batches.drawn_samples import DrawnSamples
from tests.gpu import DEVICES
from tests.training.batches.compare_augmentations import (
    KINDS,
    MAX_DIFFERENCE,
    MAX_TIES,
    compare,
    compare_kind,
)
from tests.training.batches.short_of_memory import ShortOfMemory, drawn_batches

CPU = torch.device("cpu")
SMALL = KINDS["ignore label"]
SAMPLES = int(os.environ.get("RESENC_PLANS_SAMPLES", "40"))
"""Of each kind; with 500 the test takes a minute."""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", list(KINDS))
def test_a_device_makes_the_samples_of_the_cpu(name: str, device: str) -> None:
    kinds = set()
    for one in compare(KINDS[name].source(), 4, device):
        assert one.on_device.cases == one.on_cpu.cases
        assert one.on_device.images.shape == one.on_cpu.images.shape
        assert one.on_device.target.dtype == one.on_cpu.target.dtype
        assert one.difference < MAX_DIFFERENCE
        assert one.other_labels <= MAX_TIES * one.on_cpu.target.numel()
        kinds |= {step.kind for sample in one.drawn.samples for step in sample.steps}
    assert len(kinds) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(KINDS))
def test_many_samples_of_each_kind_are_those_of_the_cpu(name: str) -> None:
    assert compare_kind(name, SAMPLES).is_equal


def test_noise_is_as_strong_as_on_the_cpu_and_a_function_of_seed_and_number() -> None:
    source = KINDS["2D, 2 channels"].source()
    [one] = compare(replace(source, share=replace(source.share, size=40)), 1)
    [again] = compare(replace(source, share=replace(source.share, size=40)), 1)
    assert torch.equal(one.on_device.images, again.on_device.images)
    found = 0
    for number in one.noisy:
        steps = one.drawn.samples[number].steps
        if [step.kind for step in steps] == [NOISE]:
            added = one.on_device.images[number] - one.on_cpu.images[number]
            # Both fields are drawn, so their difference is as wide as two of them.
            deviation = float(steps[0].tables["deviation"][0]) * 2**0.5
            changed = added[added != 0] / deviation
            assert kstest(changed.numpy(), "norm").pvalue > 1e-3
            found += 1
    assert found


def test_workers_draw_what_one_process_draws() -> None:
    batches = PatchBatches(SMALL.source(), augmenting=CPU)
    alone, helped = batches.stream(2), replace(batches, workers=1).stream(2)
    for _ in range(2):
        one, other = next(alone), next(helped)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.target, other.target)
        assert one.cases == other.cases


def test_a_resumed_run_sees_the_batches_of_an_undisturbed_one() -> None:
    batches = PatchBatches(KINDS["2D, 2 channels"].source(), augmenting=CPU)
    undisturbed = [batch.images for batch in islice(batches.stream(0), 12)]
    resumed = [batch.images for batch in islice(batches.stream(4), 8)]
    assert all(map(torch.equal, undisturbed[4:], resumed))


def test_a_batch_takes_no_more_than_was_said_before() -> None:
    for kind in (SMALL, KINDS["cascade"], KINDS["2D, 2 channels"]):
        source = kind.source()
        for one in compare(source, 3):
            parts = (one.drawn.images, one.drawn.labels, one.drawn.previous)
            assert sum(part.nbytes for part in parts if part is not None) <= source.drawn_bytes


class Doubling(ImageOnlyTransform):  # type: ignore[misc]
    """A transform that nobody has written for batches."""

    def _apply_to_image(self, img: Tensor, **_: Any) -> Tensor:
        return img * 2


def test_what_has_no_form_for_batches_is_done_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = augmentation.random_transforms

    def with_own(*arguments: Any) -> list[Any]:
        first, *others = original(*arguments)
        return [first, Doubling(), *others]

    for module in (drawn_samples, device_augmentation):
        monkeypatch.setattr(module, "random_transforms", with_own)
    monkeypatch.setattr(
        samples,
        "training_transforms",
        partial(_with_doubling, augmentation.training_transforms),
    )
    with caplog.at_level(logging.WARNING):
        for one in compare(SMALL.source(), 2):
            # What comes before it is done on the CPU too, noise included.
            torch.testing.assert_close(one.on_device.images, one.on_cpu.images, atol=1e-4, rtol=0)
            assert torch.equal(one.on_device.target, one.on_cpu.target)
    assert caplog.text.count("Doubling") == 1


def _with_doubling(original: Any, *arguments: Any) -> Any:
    composed = original(*arguments)
    composed.transforms.insert(1, Doubling())
    return composed


def test_parts_for_which_memory_is_too_small_go_to_the_cpu_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = SMALL.source()
    drawn = [DrawnSamples(source).batch(number) for number in range(4)]
    expected = [DeviceAugmentation(source, CPU)(batch) for batch in drawn]
    meta = torch.device("cpu", 0)  # the CPU, but not the host's name for it
    original = DeviceAugmentation._placed

    def too_large(self: DeviceAugmentation, batch: Any, device: torch.device) -> Any:
        if device == meta:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, batch, device)

    monkeypatch.setattr(DeviceAugmentation, "_placed", too_large)
    augment = DeviceAugmentation(source, meta)
    with caplog.at_level(logging.WARNING, device_augmentation.__name__):
        made = [augment(batch) for batch in drawn]
    assert caplog.text.count("too little memory") == 1
    for one, other in zip(expected, made, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.target, other.target)


def test_a_batch_is_the_same_wherever_memory_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    source, on_host = KINDS["2D, 2 channels"].source(), set()
    for drawn in drawn_batches(source):
        buffers = [
            part for part in (drawn.images, drawn.labels, drawn.previous) if part is not None
        ]
        before = [part.clone() for part in buffers]
        with ShortOfMemory(CPU) as memory:
            expected = DeviceAugmentation(source, CPU)(drawn)
        for fails_at in range(1, memory.allocated + 1, 3):
            caplog.clear()
            augment = DeviceAugmentation(source, CPU)
            with caplog.at_level(logging.WARNING), ShortOfMemory(CPU, fails_at):
                made = augment(drawn)
            assert caplog.text.count("too little memory") == 1
            assert torch.equal(made.images, expected.images), (fails_at, augment.on_host)
            assert torch.equal(made.target, expected.target), (fails_at, augment.on_host)
            on_host |= augment.on_host
        # What was drawn is not changed: the part that failed is done again from it.
        assert all(map(torch.equal, buffers, before))
    assert {"rotation", "targets", NOISE} <= on_host


def test_numbers_go_to_a_gpu_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def record(values: Tensor, *arguments: Any, **options: Any) -> Tensor:
        calls.append((*arguments, *options.items()))
        return values

    monkeypatch.setattr(Tensor, "pin_memory", record)
    monkeypatch.setattr(Tensor, "to", record)
    gpu = torch.device("cuda", 0)
    device_augmentation._moved(np.arange(3), gpu)
    device_augmentation._moved(np.arange(3), CPU)
    assert calls == [(), (gpu, ("non_blocking", True)), (CPU, ("non_blocking", True))]


def test_noise_is_drawn_on_the_device_for_images_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = KINDS["2D, 2 channels"].source()
    samples_drawn = DrawnSamples(source)
    noisy = next(
        batch
        for batch in map(samples_drawn.batch, range(20))
        if any(step.kind == NOISE for sample in batch.samples for step in sample.steps)
    )
    augment = DeviceAugmentation(source, CPU)
    augment.device = torch.device("cuda", 0)
    augment.on_host = {"rotation", "targets", *BATCHED, NOISE}
    asked: list[str] = []

    def without_memory(device: torch.device) -> Never:
        asked.append(device.type)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "Generator", without_memory)
    with pytest.raises(DeviceError, match=r"cuda:0: has too little memory.*`augment_on=`"):
        augment(noisy)
    assert asked == ["cuda"]
