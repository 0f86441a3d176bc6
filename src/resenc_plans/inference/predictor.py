"""`Predictor`: from an image in memory to its segmentation."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from resenc_plans.errors import PredictionError, UsageError, expect_type
from resenc_plans.inference.export.case import ExportRecipe, export_case, uncropped
from resenc_plans.inference.export.on_device import has_doubles, labels_within_memory
from resenc_plans.inference.memory import MemoryUse, predict_within_memory
from resenc_plans.inference.network_input import input_recipe, network_input
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.inference.sliding_window import OnTile, sliding_window_logits
from resenc_plans.networks.device import (
    configure_cudnn,
    failures_named,
    find_device,
    find_precision,
    is_out_of_memory,
    release_memory,
    why_not_compiled,
)
from resenc_plans.reprs import card, listed
from resenc_plans.runs.checkpoint import load_weights
from resenc_plans.runs.trained_model import Fold, TrainedModel

logger = logging.getLogger(__name__)

_AFTER_FAILURE = (
    "Predict again in another process, and keep the cases that exist (`skip_existing=`)."
)

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]

DEFAULT_SETTINGS = PredictionSettings()


class Predictor:
    """A trained model, ready to segment images in this process.

    `network` is one of your own that the model was trained with; it is copied, and the copy gets
    the weights.

    Raises
    ------
    DeviceError
        The device does not exist, or cannot compute in the precision.
    ConfigurationError
        The plans name a network or a function that is unknown.
    ModelError
        The weights do not fit the network, or it was the caller's own and is not given.
    UsageError
        `model` or `settings` is of another kind.
    """

    def __init__(
        self,
        model: TrainedModel,
        settings: PredictionSettings = DEFAULT_SETTINGS,
        *,
        network: nn.Module | None = None,
    ) -> None:
        expect_type(model, TrainedModel, "model", "a model folder to Predictor.from_folder(path)")
        expect_type(settings, PredictionSettings, "settings", "PredictionSettings(...)")
        self.model = model
        self.settings = settings
        self.device = find_device(settings.device)
        self.autocast = find_precision(settings.precision, self.device)
        configure_cudnn(self.device, allow_tf32=settings.allow_tf32)
        self.mirror_axes = model.mirror_axes if settings.mirroring else ()
        self.recipe = input_recipe(model.config)
        self.export_recipe = ExportRecipe.of(model.config, model.labels)
        self._loaded = next(iter(model.weights))
        self._network: nn.Module = model.network(self._loaded, settings.allow_import, network)
        self._network.to(self.device)
        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(self._network) if settings.compile else self._network
        )

    def __repr__(self) -> str:
        model = self.model
        return card(
            f"Predictor of {model.config.name}",
            {
                "model": model.folder,
                "folds": listed(Path(source).parent.name for source in model.weights),
                "channels": listed(model.dataset.channels),
                "labels": listed(model.dataset.labels),
                "device": f"{self.device}, {self.autocast or torch.float32}",
                "mirroring": "on" if self.mirror_axes else "off",
            },
        )

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        folds: Sequence[Fold] | Fold | None = None,
        *,
        settings: PredictionSettings = DEFAULT_SETTINGS,
        network: nn.Module | None = None,
    ) -> Self:
        """A predictor from a model folder of nnU-Net 2 or of ours; several folds are averaged.

        `folder` is named like nnUNetTrainer__nnUNetPlans__3d_fullres. Without `folds`, all that
        have the checkpoint are averaged; `fold_all` only if there is no other. `network` is one of
        your own that the model was trained with.

        Raises
        ------
        ResencPlansError
            As `TrainedModel.load` and `Predictor`.
        """
        model = TrainedModel.load(folder, folds, settings.checkpoint)
        return cls(model, settings, network=network)

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
        PredictionError
            `previous` is missing, or the model takes none; or torch.compile failed.
        DeviceError
            There is not enough memory for one patch.
        UsageError
            `image` or `spacing` does not hold numbers.
        """
        image = np.asarray(image)
        if image.dtype.kind not in "biuf":
            raise UsageError(
                f"`image=` holds no numbers ({image.dtype}). Give an array (c, z, y, x), such as "
                "read_image([path]).array."
            )
        properties = {"spacing": _lengths(spacing)}
        data, properties = self.preprocess(
            image[None] if image.ndim == 3 else image, properties, previous
        )
        return np.ascontiguousarray(self.segment(data, properties))

    def preprocess(
        self, image: Array, properties: Mapping[str, Any], previous: Array | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """The input of the network, and the case's properties; see `network_input`."""
        model = self.model
        return network_input(
            image,
            previous,
            properties,
            recipe=self.recipe,
            config=model.config,
            labels=model.labels,
        )

    @property
    def exports_on_device(self) -> bool:
        """Whether labels are made where the network runs; only labels leave the device then."""
        place = self.settings.export_on
        is_wanted = self.device.type == "cuda" if place == "auto" else place == "device"
        return is_wanted and has_doubles(self.device) and not self.settings.probabilities

    def segment(
        self, image: FloatArray, properties: Mapping[str, Any], on_tile: OnTile | None = None
    ) -> Array:
        """The segmentation (z, y, x) of what `preprocess` returns, on the grid of the image.

        It may be a view. For errors and `on_tile` see `predict_logits`.
        """
        if not self.exports_on_device:
            logits = self.predict_logits(image, on_tile)
            return export_case(logits.numpy(), properties, self.export_recipe)
        with _faults_named(self.device):
            logits = self._mean_over_folds(image, on_tile)
            if logits.device == self.device:
                labels = labels_within_memory(logits, properties, self.export_recipe)
                if labels is not None:
                    return uncropped(labels, properties, self.export_recipe)
                logger.debug("%s: the logits are exported on the host.", self.device)
            logits = logits.cpu().contiguous()
        return export_case(logits.numpy(), properties, self.export_recipe)

    def predict_logits(self, image: FloatArray, on_tile: OnTile | None = None) -> Tensor:
        """Logits (heads, z, y, x), float16 on the host, of what `preprocess` returns.

        The mean over folds; float32 where logits overflow float16. `on_tile` is called with the
        number of finished tiles and of all tiles, from 0 again in each fold.

        Raises
        ------
        DeviceError
            Not one patch fits into the device's memory, or the device has failed.
        PredictionError
            torch.compile failed.
        FileError
            The sums fit neither into the host's memory nor onto its disk.
        """
        with _faults_named(self.device):
            return self._mean_over_folds(image, on_tile, to_host=True).contiguous()

    def _mean_over_folds(
        self, image: FloatArray, on_tile: OnTile | None, *, to_host: bool = False
    ) -> Tensor:
        """The logits, on the device if they fit there."""
        data = torch.from_numpy(image)
        total = torch.zeros(())
        for position, (source, weights) in enumerate(self.model.weights.items()):
            if source != self._loaded:
                load_weights(self._network, weights, source)
                self._loaded = source
            logits = self._one_fold(data, on_tile, to_host=to_host)
            total = self._sum_of_folds(total, logits) if position else logits
        if len(self.model.weights) > 1:
            # A divisor on the device: by a scalar of the host, CUDA multiplies with 1/n instead.
            total /= torch.tensor(len(self.model.weights), dtype=total.dtype, device=total.device)
        return total

    def _sum_of_folds(self, total: Tensor, logits: Tensor) -> Tensor:
        """The sum, on the host where one of both is, or where the device has no room for it."""
        if total.device == logits.device:
            try:
                return _added(total, logits)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                release_memory(self.device)
        return _added(total.cpu(), logits.cpu())

    def _one_fold(self, image: Tensor, on_tile: OnTile | None, *, to_host: bool) -> Tensor:
        config = self.model.config

        def predict(use: MemoryUse) -> Tensor:
            logits = sliding_window_logits(
                self._forward,
                image,
                config.patch_size,
                self.model.labels.num_heads,
                step_size=self.settings.step_size,
                mirror_axes=self.mirror_axes,
                device=self.device,
                autocast=self.autocast,
                tiles_per_batch=use.tiles_per_batch,
                sum_device=use.sum_device,
                on_tile=on_tile,
            )
            return logits.cpu() if to_host else logits

        return predict_within_memory(self.device, config.batch_size, predict)


@contextmanager
def _faults_named(device: torch.device) -> Iterator[None]:
    """Raise faults of torch that a person can do something about as errors that say what."""
    try:
        with failures_named(device, _AFTER_FAILURE):
            yield
    except Exception as error:
        reason = why_not_compiled(error)
        if reason is None:
            raise
        raise PredictionError(
            f"torch.compile failed: {reason}. Predict without it (`compile=`)."
        ) from error


def _lengths(spacing: object) -> list[float]:
    """The spacing as a list of numbers, whose count `network_input` checks."""
    try:
        return [float(length) for length in spacing]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise UsageError(
            f"`spacing=` is {spacing!r}. Give the size of a voxel in mm along z, y, x, such as "
            "(2.0, 0.8, 0.8)."
        ) from None


def _added(total: Tensor, logits: Tensor) -> Tensor:
    """The sum, in float16 like nnU-Net's unless a voxel's sum is beyond its range."""
    if _overflows(total, logits):
        total = total.float()
    return total.to(torch.promote_types(total.dtype, logits.dtype)).add_(logits)


def _overflows(total: Tensor, logits: Tensor) -> bool:
    """Whether a voxel's sum is beyond the range of float16; NaN is not."""
    if torch.float32 in (total.dtype, logits.dtype):
        return False
    if _largest(total) + _largest(logits) <= torch.finfo(torch.float16).max:
        return False
    sums = (one.float().add_(other) for one, other in zip(total, logits, strict=True))
    return any(bool((head.abs_() > torch.finfo(torch.float16).max).any()) for head in sums)


def _largest(logits: Tensor) -> float:
    """The largest absolute value."""
    lowest, highest = torch.aminmax(logits)
    return max(-lowest.item(), highest.item())
