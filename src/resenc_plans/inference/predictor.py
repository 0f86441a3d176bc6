"""`Predictor`: from an image in memory to its segmentation."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from resenc_plans.errors import DatasetError
from resenc_plans.inference.case_export import ExportRecipe, export_case
from resenc_plans.inference.device import find_device, find_precision
from resenc_plans.inference.model_folder import FINAL_CHECKPOINT, Fold, ModelFolder
from resenc_plans.inference.sliding_window import OnTile, predict_logits
from resenc_plans.networks.checkpoint import load_weights
from resenc_plans.preprocessing.case import Recipe, preprocess_case

if TYPE_CHECKING:
    from resenc_plans.inference.folder_prediction import PredictionReport

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


class Predictor:
    """A trained model, ready to segment images in this process."""

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
        self.mirror_axes = model.mirror_axes if mirroring else ()
        self.step_size = step_size
        self.recipe = Recipe.of(model.config, model.plan)
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
        """A predictor from a model folder of nnU-Net 2 or of ours.

        Parameters
        ----------
        folder, folds, checkpoint
            See `ModelFolder.open`; the logits of several folds are averaged.
        device
            "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one.
        precision
            "fp32", "fp16" or "bf16"; None takes float16 on a GPU, as nnU-Net does, bfloat16 on a
            CPU that multiplies in it, else float32. nnU-Net's labels on a CPU are those of "fp32".
        mirroring
            Whether to average over the axes that training mirrored.
        step_size
            Distance of neighbouring tiles in patches, above 0 and at most 1.
        allow_import
            Modules whose networks the plans may name (see `build_network`).
        on_note
            Called with what a person should know, such as memory that did not suffice.

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
        """What the network is given for an image (c, z, y, x), and the case's properties.

        `previous` is as in `predict`: one channel per foreground label is added, 1 where the
        segmentation has it.

        Raises
        ------
        DatasetError
            As in `predict`.
        """
        if len(properties["spacing"]) != 3:
            raise DatasetError(f"Spacing {properties['spacing']}: mm along z, y, x are needed.")
        if (self.model.config.previous_stage is None) != (previous is None):
            raise DatasetError(
                f"{self.model.config.name}: is no second stage of a cascade, but a segmentation of "
                "the first was given."
                if previous is not None
                else f"{self.model.config.name}: needs the segmentation that the previous stage, "
                f"{self.model.config.previous_stage}, made of this image."
            )
        labels = None if previous is None else np.asarray(previous)[None]
        stored = preprocess_case(image, labels, properties, self.recipe)
        stored.properties.pop("class_locations", None)
        if previous is None:
            return stored.image, stored.properties
        values = np.asarray(self.model.labels.foreground_labels)[:, None, None, None]
        return np.concatenate([stored.image, stored.labels == values]), stored.properties

    def predict_logits(self, image: FloatArray, on_tile: OnTile | None = None) -> Tensor:
        """Logits (heads, z, y, x), float16 on the host, of what `preprocess` returns.

        The mean over folds. Memory of the device that does not suffice is made up for by fewer
        tiles at a time, then by sums on the host. `on_tile` is called with the tiles done and
        those of the image, in each fold anew.
        """
        data = torch.from_numpy(image)
        total: Tensor | None = None
        for source in self.model.weights:
            if source != self._loaded:
                load_weights(self._network, self.model.weights[source], source)
                self._loaded = source
            logits = self._one_fold(data, on_tile)
            total = logits if total is None else total.add_(logits)
        assert total is not None
        if len(self.model.weights) > 1:
            total /= len(self.model.weights)
        return total.contiguous()

    def predict_folder(
        self, inputs: str | os.PathLike[str], output: str | os.PathLike[str], **options: Any
    ) -> "PredictionReport":
        """Segment all images of a folder; see `folder_prediction.predict_folder`."""
        from resenc_plans.inference.folder_prediction import predict_folder

        return predict_folder(self, inputs, output, **options)

    def _one_fold(self, image: Tensor, on_tile: OnTile | None) -> Tensor:
        cpu = torch.device("cpu")
        on_gpu = self.device.type == "cuda"
        many = min(self.model.config.batch_size, 64) if on_gpu else 1
        plans = [(many, self.device), (1, self.device), (1, cpu)] if on_gpu else [(1, cpu)]
        for position, (tiles_per_batch, sum_device) in enumerate(plans):
            try:
                return predict_logits(
                    self._network,
                    image,
                    self.model.config.patch_size,
                    self.model.labels.num_heads,
                    step_size=self.step_size,
                    mirror_axes=self.mirror_axes,
                    device=self.device,
                    autocast=self.autocast,
                    tiles_per_batch=tiles_per_batch,
                    sum_device=sum_device,
                    on_tile=on_tile,
                ).cpu()
            except torch.OutOfMemoryError:
                if position == len(plans) - 1:
                    raise
                torch.cuda.empty_cache()
                if self._on_note is not None and plans[position + 1][1] == cpu:
                    self._on_note("The GPU's memory does not suffice: sums are kept on the host.")
        raise AssertionError("the last attempt returns or raises")
