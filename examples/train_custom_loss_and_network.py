"""Train with a loss, a network and an optimizer of one's own: plain objects that the trainer takes.

The dataset is made up, the network tiny, and two epochs of a few batches only show that it runs:
for real data use nnU-Net's settings, which are the defaults.
"""

from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from resenc_plans import (
    Dataset,
    Fingerprint,
    PredictionSettings,
    Predictor,
    Preprocessor,
    Trainer,
    TrainingSettings,
    create_plans,
    write_phantom,
)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of one scale: logits (b, heads, z, y, x), target (b, 1, z, y, x)."""
    entropy = cross_entropy(logits, target[:, 0].long(), reduction="none")
    return ((1 - (-entropy).exp()) ** 2 * entropy).mean()


class PlainNetwork(nn.Sequential):
    """Three convolutions; without deep supervision, so it returns one tensor of logits."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(
            nn.Conv3d(channels, 8, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv3d(8, 8, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv3d(8, heads, 1),
        )


def main() -> None:
    dataset = Dataset.load(write_phantom(Path(mkdtemp()) / "Dataset900_Phantom", cases=5))
    plan = create_plans(Fingerprint.extract(dataset), dataset, preset="M")
    plan.derive("small", from_="3d_fullres", batch_size=2, patch_size=[16, 32, 32])
    plan.save(dataset.folder / f"{plan.name}.json")
    config = plan.resolve("small")
    Preprocessor(config, plan).run(dataset, dataset.folder / config.data_identifier, workers=1)
    network = PlainNetwork(len(dataset.channels), dataset.labels.num_heads)
    trainer = Trainer(
        config,
        dataset,
        fold=0,
        settings=TrainingSettings(
            epochs=2, iterations=4, validation_iterations=2, learning_rate=1e-3, workers=0
        ),
        name="PlainFocal",
        network=network,
        loss=focal_loss,
        optimizer=partial(AdamW, weight_decay=0.01),
    )
    for number, epoch in enumerate(trainer.fit().epochs):
        print(f"epoch {number}: loss {epoch.training_loss:.3f}, pseudo Dice {epoch.mean_dice:.3f}")
    predictor = Predictor.from_folder(
        trainer.folder.model, settings=PredictionSettings(device="cpu"), network=network
    )
    labels = predictor.predict(np.zeros((len(dataset.channels), 20, 40, 40)), (1.0, 1.0, 1.0))
    print(f"predicted {labels.shape} from {trainer.folder.path}")


if __name__ == "__main__":
    main()
