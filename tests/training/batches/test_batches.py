import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from ast import literal_eval
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import psutil
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ConfigurationError, FileError, ResencPlansError, WorkerError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.runs.stored_cases import open_store
from resenc_plans.safe_pickle import dump_pickle
from resenc_plans.training.batches import batches as batches_module
from resenc_plans.training.batches.batches import PatchBatches
from resenc_plans.training.batches.patch_geometry import spatial_settings
from resenc_plans.training.batches.patch_sampling import PatchSampler, reached, read_region
from resenc_plans.training.batches.source import Batch, PatchSource
from resenc_plans.training.ranks import split_batch
from tests.training.conftest import Fixed

LABELS = Labels((0, 1, 2), None, None, None)
IGNORING = Labels((0, 1, 2), None, None, 3)


@pytest.fixture
def source(config: ResolvedConfiguration, dataset: Dataset) -> PatchSource:
    store = open_store(config)
    return PatchSource(
        store=store,
        config=config,
        labels=dataset.labels,
        cases=tuple(store),
        share=split_batch(4, 1, 0.33)[0],
        purpose="training",
        seed=3,
    )


def batches(source: PatchSource, first: int, count: int, workers: int = 0) -> list[Batch]:
    stream = PatchBatches(source, workers).stream(first)
    return [next(stream) for _ in range(count)]


def started(source: PatchSource, workers: int) -> tuple[Any, list[BaseProcess]]:
    """A stream, and the processes that it has started."""
    others = multiprocessing.active_children()
    stream = PatchBatches(source, workers).stream(0)
    return stream, [child for child in multiprocessing.active_children() if child not in others]


def test_a_batch_depends_on_its_number_alone(source: PatchSource) -> None:
    run, late = batches(source, 0, 4), batches(source, 3, 1)
    assert torch.equal(run[3].images, late[0].images)
    assert torch.equal(run[3].target, late[0].target)
    assert run[3].cases == late[0].cases
    assert not torch.equal(run[2].images, run[3].images)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_gpu_takes_pinned_batches_and_nothing_is_pinned_before_the_first_is_asked_for(
    source: PatchSource, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[tuple[int, ...]] = []

    def pin(values: Tensor) -> Tensor:
        pinned.append(tuple(values.shape))
        return values

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(batches_module, "prefetched", lambda batches, _: batches)
    stream = PatchBatches(source, workers, copied_to=torch.device("cuda", 0)).stream(0)
    time.sleep(0.2 * workers)  # in which the loader's process makes batches
    assert not pinned
    batch = next(stream)
    assert pinned == [tuple(batch.images.shape), tuple(batch.target.shape)]
    assert torch.equal(batch.images, batches(source, 0, 1)[0].images)


def test_the_number_of_workers_changes_nothing(source: PatchSource) -> None:
    alone, helped = batches(source, 0, 4), batches(source, 0, 4, workers=2)
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.cases == other.cases


def test_ranks_share_the_batch_of_one_process(source: PatchSource) -> None:
    [whole] = batches(source, 5, 1)
    for world in (2, 4):
        shares = [replace(source, share=share) for share in split_batch(4, world, 0.33)]
        parts = [batches(share, 5, 1)[0] for share in shares]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)


def test_shapes_and_types_are_what_the_network_takes(source: PatchSource) -> None:
    [batch] = batches(source, 0, 1)
    assert batch.images.shape == (4, 2, 8, 16, 16)
    assert batch.images.dtype == torch.float32
    assert batch.target.shape == (4, 1, 8, 16, 16)
    assert batch.target.dtype == torch.int8
    assert batch.target.min() >= 0


def test_what_a_batch_takes_is_known_before_it_is_made(source: PatchSource) -> None:
    half = replace(source, image_type=torch.float16)
    many = replace(half, labels=Labels((0, 1, 2, 200), None, None, None))
    regions = replace(
        half,
        labels=Labels((0, 1, 2), ((1, 2), 2), (1, 2), 3),
        sampler=Fixed(source.cases[0], (0, 0, 0)),
    )
    for made in (source, half, many, regions):
        [batch] = batches(made, 0, 1)
        assert made.batch_bytes == batch.nbytes == batch.images.nbytes + batch.target.nbytes
    voxels = 4 * 8 * 16 * 16
    assert [s.batch_bytes for s in (source, half, many)] == [9 * voxels, 5 * voxels, 6 * voxels]


def test_images_come_in_the_precision_of_the_network(source: PatchSource) -> None:
    [single] = batches(source, 0, 1)
    [half] = batches(replace(source, image_type=torch.float16), 0, 1)
    assert torch.equal(half.images, single.images.half())
    assert torch.equal(half.target, single.target)


def test_validation_samples_are_not_augmented(source: PatchSource) -> None:
    config = source.config
    validation = replace(source, purpose="validation", cases=source.cases[:1])
    image = source.store.arrays(source.cases[0])[0][:]
    windows = np.lib.stride_tricks.sliding_window_view(image, config.patch_size, axis=(1, 2, 3))
    for sample in batches(validation, 0, 1)[0].images.numpy():
        found = (windows[0] == sample[0]).all(axis=(-3, -2, -1))
        assert found.any() or (sample == 0).any()


@dataclass(frozen=True)
class Turned:
    """Takes the middle of what it is given, upside down."""

    read_size: tuple[int, ...]
    patch: tuple[slice, ...]

    def __call__(self, *, image: torch.Tensor, segmentation: torch.Tensor) -> Any:
        middle = (slice(None), *self.patch)
        return {"image": image.flip(1)[middle], "segmentation": segmentation.flip(1)[middle]}


@pytest.mark.parametrize("workers", [0, 1])
def test_ones_own_sampler_and_augmentation_make_the_training_samples(
    source: PatchSource, workers: int
) -> None:
    turned = Turned((10, 20, 20), (slice(1, 9), slice(2, 18), slice(2, 18)))
    own = replace(source, sampler=Fixed(source.cases[1], (3, 4, 5)), augmentation=turned)
    [batch] = batches(own, 0, 1, workers)
    assert list(batch.cases) == [source.cases[1]] * 4
    image, labels = source.store.arrays(source.cases[1])
    region = (slice(4, 12), slice(6, 22), slice(7, 23))
    expected = np.flip(image[(slice(None), *region)], 1)
    np.testing.assert_array_equal(batch.images[0], expected)
    expected = np.flip(labels[(slice(None), *region)], 1).clip(0)
    np.testing.assert_array_equal(batch.target[0], expected)


def test_a_sampler_or_an_augmentation_that_gives_nonsense_is_an_error(source: PatchSource) -> None:
    with pytest.raises(ResencPlansError, match="sampler drew 'nowhere' at"):
        batches(replace(source, sampler=Fixed("nowhere", (0, 0, 0))), 0, 1)
    too_large = Turned((10, 20, 20), (slice(None),) * 3)
    with pytest.raises(ResencPlansError, match=r"returned \(2, 10, 20, 20\) as image"):
        batches(replace(source, augmentation=too_large), 0, 1)


def test_a_damaged_case_is_named(source: PatchSource, preprocessed: Path) -> None:
    case = source.cases[0]
    path = source.store.folder / f"{case}.b2nd"
    path.write_bytes(b"nothing")
    for workers in (0, 1):
        with pytest.raises(FileError, match=path.name):
            batches(replace(source, cases=(case,)), 0, 1, workers)


def test_a_case_whose_blocks_are_damaged_is_named(source: PatchSource) -> None:
    case = source.cases[0]
    path = source.store.folder / f"{case}.b2nd"
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 4, 3 * len(content) // 4)
    content[middle] = bytes(len(content[middle]))
    path.write_bytes(content)
    for workers in (0, 1):
        with pytest.raises(FileError, match=f"{case}.b2nd: cannot be read"):
            batches(replace(source, cases=(case,)), 0, 5, workers)


def test_whatever_blosc2_raises_in_a_batch_names_the_case(
    source: PatchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SystemError("deep inside")

    monkeypatch.setattr(blosc2.NDArray, "__getitem__", fail)
    case = source.cases[0]
    with pytest.raises(FileError, match=rf"{case}\.b2nd: cannot be read \(deep inside"):
        batches(replace(source, cases=(case,)), 0, 1)


def test_a_case_that_was_stored_without_labels_is_named(source: PatchSource) -> None:
    case = source.cases[0]
    properties = source.store.properties(case)
    del properties["class_locations"]
    (source.store.folder / f"{case}.pkl").write_bytes(dump_pickle(properties))
    with pytest.raises(FileError, match=rf"{case}\.pkl: has no class_locations"):
        batches(replace(source, cases=(case,)), 0, 1)


@pytest.mark.slow
def test_a_killed_worker_is_an_error_and_not_a_hang(source: PatchSource) -> None:
    stream, [worker] = started(source, workers=1)
    next(stream)
    worker.kill()
    worker.join()
    with pytest.raises(ResencPlansError, match="A process that loads data was killed"):
        list(itertools.islice(stream, 20))


@pytest.mark.slow
def test_a_worker_that_finds_shared_memory_full_is_told_apart(source: PatchSource) -> None:
    stream, [worker] = started(source, workers=1)
    next(stream)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGBUS)
    worker.join()
    with pytest.raises(WorkerError, match=r"/dev/shm is full.*--shm-size"):
        list(itertools.islice(stream, 20))


@pytest.mark.parametrize("end", ["unused", "close", "fault"])
def test_workers_begin_and_end_with_the_stream(source: PatchSource, end: str) -> None:
    stream, workers = started(source, workers=2)
    assert len(workers) == 2
    if end == "unused":
        del stream
        assert not any(worker.is_alive() for worker in workers)
        return
    next(stream)
    if end == "close":
        stream.close()
    else:
        with pytest.raises(KeyError):
            stream.throw(KeyError)
    assert not any(worker.is_alive() for worker in workers)


ENDINGS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "at an error": "raise RuntimeError",
    "quietly": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_workers_end_with_the_program(source: PatchSource, preprocessed: Path, ending: str) -> None:
    program = f"""
import multiprocessing, os, signal, sys
from resenc_plans import Dataset, Plans, TrainingSettings
from resenc_plans.training.ranks import ALONE
from resenc_plans.training.defaults import default_batches
config = Plans.load("nnUNetResEncUNetMPlans.json").resolve("tiny")
settings = TrainingSettings(workers=2)
source, _ = default_batches(config, Dataset.load({str(preprocessed)!r}), "all", settings, ALONE)
stream = source.stream(0)
next(stream)
print([worker.pid for worker in multiprocessing.active_children()], flush=True)
{ENDINGS[ending]}
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=preprocessed,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    pids = literal_eval(done.stdout.decode())
    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_random_numbers_of_the_training_are_left_alone(source: PatchSource) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    undisturbed = torch.rand(3), np.random.rand(3)
    torch.manual_seed(1)
    np.random.seed(1)
    for workers in (0, 1):
        batches(source, 0, 1, workers)
    assert torch.equal(torch.rand(3), undisturbed[0])
    np.testing.assert_array_equal(np.random.rand(3), undisturbed[1])


def test_cases_of_nnunets_older_layout_are_read_and_not_written_to(source: PatchSource) -> None:
    folder = source.store.folder
    for case in source.cases:
        image, labels = (array[:] for array in source.store.arrays(case))
        np.save(folder / f"{case}.npy", image)
        np.save(folder / f"{case}_seg.npy", labels)
    [new] = batches(source, 0, 1)
    for case in source.cases:
        (folder / f"{case}.b2nd").unlink()
        (folder / f"{case}.npz").touch()
    for path in folder.glob("*.npy"):
        path.chmod(0o444)
    [old] = batches(replace(source, store=CaseStore(folder)), 0, 1)
    assert torch.equal(old.images, new.images)


def test_cases_that_nnunet_stored_are_read(shared: Path) -> None:
    folder = shared / "oracle" / "Dataset004_Hippocampus"
    store = CaseStore(folder / "nnUNetPlans_3d_fullres")
    source = PatchSource(
        store=store,
        config=Plans.load(folder / "nnUNetPlans.json").resolve("3d_fullres"),
        labels=LABELS,
        cases=tuple(store),
        share=split_batch(2, 1, 0.33)[0],
        purpose="training",
        seed=0,
    )
    [batch] = batches(source, 0, 1)
    assert batch.images.shape == (2, 1, 40, 56, 40)
    assert set(batch.target.unique().tolist()) <= {0, 1, 2}


@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3),
    first=st.tuples(*[st.integers(-20, 40)] * 3),
    size=st.tuples(*[st.integers(1, 24)] * 3),
)
def test_a_region_is_the_padded_array_s(
    shape: tuple[int, ...], first: tuple[int, ...], size: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).integers(0, 100, (2, *shape))
    margin = 64
    padded = np.pad(array, ((0, 0), *[(margin, margin)] * 3), constant_values=-1)
    expected = padded[
        (
            slice(None),
            *(slice(f + margin, f + margin + s) for f, s in zip(first, size, strict=True)),
        )
    ]
    np.testing.assert_array_equal(read_region(array, first, size, -1), expected)


@settings(deadline=None)
@given(
    read=st.tuples(*[st.integers(4, 24)] * 3),
    patch=st.tuples(*[st.integers(1, 12)] * 3),
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    scale=st.floats(0.3, 1.6),
)
def test_what_a_patch_does_not_reach_may_be_anything(
    read: tuple[int, ...], patch: tuple[int, ...], angles: Any, scale: float
) -> None:
    transform = SpatialTransform(
        *(patch, 0, False),
        **{"p_rotation": 1, "rotation": lambda dim, **_: angles[dim]},
        **{"p_scaling": 1, "scaling": lambda **_: scale, "p_synchronize_scaling_across_axes": 1},
    )
    image = torch.rand(1, *read)
    grid = transform.get_parameters(image=image)["grid"]
    part = reached(grid, read)
    unread = torch.full_like(image, torch.nan)
    unread[(slice(None), *part)] = image[(slice(None), *part)]
    whole, partial = (
        torch.nn.functional.grid_sample(data[None], grid[None], align_corners=False)
        for data in (image, unread)
    )
    assert torch.equal(whole, partial)


@given(st.data())
def test_foreground_is_in_the_middle_of_what_is_read(data: Any) -> None:
    shape = data.draw(st.tuples(*[st.integers(4, 60)] * 3))
    patch = data.draw(st.tuples(*[st.integers(2, 20)] * 3))
    read = tuple(edge + data.draw(st.integers(0, 10)) for edge in patch)
    voxel = [0, *(data.draw(st.integers(0, length - 1)) for length in shape)]
    sampler = PatchSampler.of(patch, read, LABELS)
    first = sampler.draw(shape, {1: np.array([voxel]), 2: []}, foreground=True)
    for start, size, centre in zip(first, read, voxel[1:], strict=True):
        assert start <= centre < start + size
    anywhere = sampler.draw(shape, {}, foreground=False)
    for start, size, edge, length in zip(anywhere, read, patch, shape, strict=True):
        padding = max(size - edge, size - length)
        assert -padding // 2 <= start <= length + padding // 2 + padding % 2 - size


def test_where_there_is_an_ignore_label_every_patch_shows_what_is_annotated() -> None:
    sampler = PatchSampler.of((4, 4, 4), (4, 4, 4), IGNORING)
    locations: Any = {1: [], 2: [], (-1, 0, 1, 2): np.array([[0, 30, 30, 30]])}
    for foreground in (False, True):
        assert sampler.draw((40, 40, 40), locations, foreground=foreground) == (28, 28, 28)


@settings(max_examples=300)
@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1))
def test_a_split_gives_every_sample_to_one_rank(batch_size: int, world: int, share: float) -> None:
    if batch_size < world:
        with pytest.raises(ConfigurationError, match="cannot be split over"):
            split_batch(batch_size, world, share)
        return
    shares = split_batch(batch_size, world, share)
    assert [s.first for s in shares[1:]] == [s.first + s.size for s in shares[:-1]]
    assert shares[-1].first + shares[-1].size == batch_size
    assert shares[0].size - shares[-1].size in (0, 1)
    assert sum(s.foreground for s in shares) == batch_size - round(batch_size * (1 - share))


def test_a_patch_is_read_larger_where_it_will_be_turned() -> None:
    assert spatial_settings((40, 56, 40)).read_size == (73, 80, 64)
    assert spatial_settings((20, 320, 256)).plane_wise
