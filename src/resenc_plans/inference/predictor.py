"""`Predictor`: from an image in memory to its segmentation."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from resenc_plans.errors import DatasetError
from resenc_plans.inference.cascade_input import network_input
from resenc_plans.inference.constant_channels import allow_constant_channels
from resenc_plans.inference.export.case import ExportRecipe, export_case
from resenc_plans.inference.memory_fallback import Attempt, first_that_fits
from resenc_plans.inference.sliding_window import OnTile, predict_logits
from resenc_plans.networks.device import find_device, find_precision, try_all_kernels
from resenc_plans.preprocessing.case import Recipe
from resenc_plans.preprocessing.resampling.labels import LabelRule
from resenc_plans.runs.checkpoint import load_weights
from resenc_plans.runs.model_folder import FINAL_CHECKPOINT, Fold, ModelFolder

if TYPE_CHECKING:
    from resenc_plans.inference.prediction_report import PredictionReport

PREVIOUS_STAGE_RULE: LabelRule = "argmax"
"""How nnU-Net resamples a cascade's first segmentation, with batchgenerators from 0.25.4.

No preprocessed case has to agree: in training, this segmentation comes from resampled logits.
"""

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


class Predictor:
    """A trained model, ready to segment images in this process.

    Parameters
    ----------
    model
        What it was trained with and to.
    device
        "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one.
    precision
        "fp32", "fp16" or "bf16"; None takes float16 on a GPU, as nnU-Net does, bfloat16 on a CPU
        that multiplies in it, else float32. nnU-Net's labels on a CPU are those of "fp32".
    mirroring
        Whether to average over the axes that training mirrored.
    step_size
        Distance of neighbouring tiles in patches, above 0 and at most 1.
    allow_import
        Modules whose networks the plans may name (see `build_network`).
    on_note
        Called with what a person should know, such as memory that did not suffice.
    """

    def __init__(
        self,
        model: ModelFolder,
        *,
        device: str | torch.device | None = None,
        precision: str | None = None,
        mirroring: bool = True,
        step_size: float = 0.5,
        allow_import: Collection[str] = (),
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 < step_size <= 1:
            raise DatasetError(f"Step size {step_size}: above 0 and at most 1 is needed.")
        self.model = model
        self.device = find_device(device)
        self.autocast = find_precision(precision, self.device)
        try_all_kernels(self.device)
        self.mirror_axes = model.mirror_axes if mirroring else ()
        self.step_size = step_size
        recipe = Recipe.of(model.config, model.plan, rule=PREVIOUS_STAGE_RULE)
        self.recipe = allow_constant_channels(recipe)
        self.export_recipe = ExportRecipe.of(model.config, model.plan, model.labels)
        self._on_note = on_note
        self._loaded = next(iter(model.weights))
        self._network: nn.Module = model.network(self._loaded, allow_import).to(self.device)

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        folds: Sequence[Fold] | Fold | None = None,
        *,
        checkpoint: str = FINAL_CHECKPOINT,
        device: str | torch.device | None = None,
        precision: str | None = None,
        mirroring: bool = True,
        step_size: float = 0.5,
        allow_import: Collection[str] = (),
        on_note: Callable[[str], None] | None = None,
    ) -> Self:
        """A predictor from a model folder of nnU-Net 2 or of ours; several folds are averaged.

        The arguments are those of `ModelFolder.open` and of `Predictor`.

        Raises
        ------
        ResencPlansError
            The folder is not usable (FileError, PlansError, DatasetError), or there is no such
            device or precision.
        """
        return cls(
            ModelFolder.open(folder, folds, checkpoint),
            device=device,
            precision=precision,
            mirroring=mirroring,
            step_size=step_size,
            allow_import=allow_import,
            on_note=on_note,
        )

    def predict(
        self, image: Array, spacing: Sequence[float], previous: Array | None = None
    ) -> Array:
        """The segmentation (z, y, x) of an image, as nnU-Net would write it to a file.

        Parameters
        ----------
        image
            (c, z, y, x), or (z, y, x) of one channel; of any numeric type.
        spacing
            mm along z, y, x.
        previous
            In a cascade's second stage, the first stage's segmentation (z, y, x) of the image.

        Raises
        ------
        DatasetError
            The image does not fit the model, or has voxels that are not finite.
        """
        image = np.asarray(image)
        properties = {"spacing": [float(length) for length in spacing]}
        data, properties = self.preprocess(
            image[None] if image.ndim == 3 else image, properties, previous
        )
        return np.ascontiguousarray(
            export_case(self.predict_logits(data).numpy(), properties, self.export_recipe)
        )

    def preprocess(
        self, image: Array, properties: Mapping[str, Any], previous: Array | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """What the network is given, and the case's properties; see `network_input`."""
        model = self.model
        return network_input(image, previous, properties, self.recipe, model.config, model.labels)

    def predict_logits(self, image: FloatArray, on_tile: OnTile | None = None) -> Tensor:
        """Logits (heads, z, y, x), float16 on the host, of what `preprocess` returns.

        The mean over folds; float32 where logits overflow float16. `on_tile` is called with the
        tiles done and those of the image, in each fold anew.

        Raises
        ------
        MemoryError
            Not one patch fits into the device's memory, or the sums not into the host's.
        """
        data = torch.from_numpy(image)
        total = torch.zeros(())
        for position, (source, weights) in enumerate(self.model.weights.items()):
            if source != self._loaded:
                load_weights(self._network, weights, source)
                self._loaded = source
            logits = self._one_fold(data, on_tile)
            total = _added(total, logits) if position else logits
        if len(self.model.weights) > 1:
            total /= len(self.model.weights)
        return total.contiguous()

    def predict_folder(
        self, inputs: str | os.PathLike[str], output: str | os.PathLike[str], **options: Any
    ) -> "PredictionReport":
        """Segment all images of a folder; see `folder_prediction.predict_folder`."""
        from resenc_plans.inference.folder import predict_folder

        return predict_folder(self, inputs, output, **options)

    def _one_fold(self, image: Tensor, on_tile: OnTile | None) -> Tensor:
        def predict(attempt: Attempt) -> Tensor:
            return predict_logits(
                self._network,
                image,
                self.model.config.patch_size,
                self.model.labels.num_heads,
                step_size=self.step_size,
                mirror_axes=self.mirror_axes,
                device=self.device,
                autocast=self.autocast,
                tiles_per_batch=attempt.tiles_per_batch,
                sum_device=attempt.sum_device,
                on_tile=on_tile,
            ).cpu()

        batch_size = self.model.config.batch_size
        return first_that_fits(self.device, batch_size, predict, self._on_note)


def _added(total: Tensor, logits: Tensor) -> Tensor:
    """The sum, in float16 as nnU-Net's unless a voxel's sum is beyond it."""
    if _overflows(total, logits):
        total = total.float()
    return total.to(torch.promote_types(total.dtype, logits.dtype)).add_(logits)


def _overflows(total: Tensor, logits: Tensor) -> bool:
    """Whether a sum of float16 numbers is beyond them; NaN is not."""
    if torch.float32 in (total.dtype, logits.dtype):
        return False
    if _largest(total) + _largest(logits) <= torch.finfo(torch.float16).max:
        return False
    sums = (one.float().add_(other) for one, other in zip(total, logits, strict=True))
    return any(bool((head.abs_() > torch.finfo(torch.float16).max).any()) for head in sums)


def _largest(logits: Tensor) -> float:
    least, most = torch.aminmax(logits)
    return max(-least.item(), most.item())
