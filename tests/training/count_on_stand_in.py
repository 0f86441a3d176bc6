"""Count where steps of a training wait for the stand-in device: `count_on_stand_in FOLDER`.

FOLDER is a preprocessed folder with the configuration `tiny`, which gets more scales. Prints as
JSON what waits in one training batch and in one validation batch of `Trainer`, and the bytes that
are copied to the device for it, for each of several ways to train; `known` is what is found among
operators that all wait, and among some that do not.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import AdamW, DiceFocalLoss, TrainingSettings
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training import step as step_module
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.defaults import default_loss
from resenc_plans.training.history import Progress
from resenc_plans.training.ranks import Ranks
from resenc_plans.training.step import at_size
from resenc_plans.training.trainer import Trainer
from tests.host_waits import HostWaits
from tests.networks.configurations import unet_arguments
from tests.stand_in import NAME, register_stand_in

SETTINGS = TrainingSettings(
    epochs=1, iterations=3, validation_iterations=3, workers=0, precision="fp32"
)
OTHERS = SETTINGS.model_copy(update={"optimizer": AdamW(), "loss": DiceFocalLoss()})
LABELS: dict[str, Any] = {"background": 0, "a": 1, "b": 2}
REGIONS: dict[str, Any] = {"background": 0, "whole": [1, 2], "core": 2}
IGNORED = {"ignore": 3}
BATCH_SIZE = 2
COLLECTIVES = Counter[str]()
"""Since the last batch."""


@dataclass(frozen=True)
class Noise:
    """Batches of noise, with labels or with regions and ignored voxels as targets."""

    channels: int
    regions: int = 0

    def stream(self, first: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(first)
        size = (8, 16, 16)
        images = torch.randn((BATCH_SIZE, self.channels, *size), generator=random)
        if self.regions:
            target = torch.rand((BATCH_SIZE, self.regions, *size), generator=random) < 0.5
        else:
            target = torch.randint(0, 3, (BATCH_SIZE, 1, *size), generator=random).to(torch.int8)
        while True:
            yield Batch(images, target, ("noise",))


def count(
    config: ResolvedConfiguration,
    folder: Path,
    labels: dict[str, Any],
    *,
    settings: TrainingSettings = SETTINGS,
    scaled: bool = False,
    world: int = 1,
    patches: bool = False,
    late: bool = False,
) -> dict[str, dict[str, int]]:
    """What waits, and what is copied, from the second to the third batch, also of validation.

    With `patches`, batches are those of the stored cases, else noise. With `late`, a step is read
    while the next one runs; `launching` is what waits while that is launched.
    """
    if late:
        settings = settings.model_copy(update={"iterations": 4})
    dataset = with_labels(folder, labels)
    regions = 3 if labels.get("whole") else 0
    ranks = Ranks(0, world, torch.device(NAME, 0))
    batches = None if patches else Noise(len(dataset.channels), regions)
    waits, found, before, copied = HostWaits(), {}, Counter[str](), 0

    def look(progress: Progress) -> None:
        nonlocal before, copied
        if progress.finished is None and progress.iteration == 3:
            kind = "training" if progress.is_training else "validation"
            found[kind] = waits.since(before)
            found[f"{kind} collectives"] = dict(COLLECTIVES)
            found[f"{kind} bytes"] = {"copied": waits.copied - copied}
        before, copied = waits.counts.copy(), waits.copied
        COLLECTIVES.clear()

    trainer = Trainer(
        *(config, dataset, 0, settings),
        run_folder=RunFolder(folder / "counted", 0),
        name="Counted",
        overwrite=True,
        ranks=ranks,
        loss=default_loss(
            config,
            settings,
            ranks,
            regions=dataset.labels.has_regions,
            ignore_label=dataset.labels.ignore_label,
            batch_size=config.batch_size if patches else BATCH_SIZE * world,
        ),
        training_batches=batches,
        validation_batches=batches,
        on_progress=look,
    )
    if scaled:
        trainer.step.scaler = torch.amp.GradScaler("cpu")
    trainer.step.is_read_late, launch = late, trainer.step.launch

    def launching(*arguments: Any, **options: Any) -> Any:
        earlier = waits.counts.copy()
        launched = launch(*arguments, **options)
        found["launching"] = waits.since(earlier)
        return launched

    vars(trainer.step)["launch"] = launching
    with waits:
        assert trainer.fit().is_complete
    return found


def with_scales(folder: Path) -> ResolvedConfiguration:
    """The configuration, with losses at three scales."""
    [path] = folder.glob("*Plans.json")
    document = json.loads(path.read_text())
    size = {"n_blocks_per_stage": [1] * 4, "features_per_stage": [4] * 4}
    arguments = unet_arguments(3, 4, **size)
    document["configurations"]["tiny"]["architecture"]["arch_kwargs"] = arguments
    path.write_text(json.dumps(document))
    return Plans.load(path).resolve("tiny")


def with_labels(folder: Path, labels: dict[str, Any]) -> Dataset:
    """The folder's dataset with these labels."""
    path = folder / "dataset.json"
    document = json.loads(path.read_text()) | {"labels": labels, "regions_class_order": [1, 2]}
    path.write_text(json.dumps(document))
    return Dataset.load(str(folder))


def count_known() -> dict[str, dict[str, int]]:
    """What the counter finds where each of nine operators waits, and where none does."""
    waits, host = HostWaits(), torch.arange(6.0).view(1, 1, 6)
    with waits:
        values = host.to(NAME, non_blocking=True)
        at_size(values, (4,))
    none = waits.counts.copy()
    with waits:
        values = host.to(NAME)
        assert values.sum().item() == values.cpu().sum() == sum(values.sum((0, 1)).tolist())
        assert values.any()
        mask = values > 1
        assert len(mask.nonzero()) == len(values[mask]) == len(values.masked_select(mask))
        torch.tensor([1.0], device=NAME)
    return {"none": dict(none), "each": waits.since(none)}


def pretend_ranks() -> None:
    """Let reductions over ranks return what they were given."""

    def same(value: Any, **_: object) -> Any:
        COLLECTIVES["all_reduce"] += 1
        return value

    for module, name in (
        (dist, "all_reduce"),
        (dist, "barrier"),
        (step_module, "DistributedDataParallel"),
    ):
        setattr(module, name, partial(same, None) if name == "barrier" else same)


def main(folder: Path) -> None:
    registered = register_stand_in()
    config = with_scales(folder)
    stored = json.loads((folder / "dataset.json").read_text())["labels"]
    found: dict[str, Any] = {
        "known": count_known(),
        "labels": count(config, folder, LABELS),
        "scaled labels": count(config, folder, LABELS, scaled=True),
        "labels read late": count(config, folder, LABELS, scaled=True, late=True),
        "ignored labels": count(config, folder, LABELS | IGNORED),
        "ignored labels with others' optimizer and loss": count(
            *(config, folder, LABELS | IGNORED), settings=OTHERS
        ),
        "ignored regions": count(config, folder, REGIONS | IGNORED),
    }
    for place in ("cpu", "device"):
        chosen = SETTINGS.model_copy(update={"augment_on": place})
        found[f"augmented on {place}"] = count(
            *(config, folder, stored), settings=chosen, patches=True
        )
    pretend_ranks()
    found["scaled labels of two ranks"] = count(config, folder, LABELS, scaled=True, world=2)
    found["ignored labels of two ranks"] = count(config, folder, LABELS | IGNORED, world=2)
    print(json.dumps(found))
    del registered


if __name__ == "__main__":
    main(Path(sys.argv[1]))
