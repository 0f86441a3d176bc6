"""The memory of predicting a case, and of bringing the prediction back to the image's grid.

As nnU-Net 2.8.1 does it with its results kept on the device: a sliding window over the whole case,
one patch at a time, fp16 logits of all heads (`_internal_predict_sliding_window_return_logits`);
then resampling in float64 on the host (`resample_data_or_seg`) and the arg max. Tensors and arrays
only: add what CUDA and Python themselves take.
"""

from dataclasses import dataclass
from math import prod

from resenc_plans.cost.counts import count_parameters
from resenc_plans.cost.layers import SizedLayers
from resenc_plans.cost.training_step import inference_peak
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.words import counted


@dataclass(frozen=True)
class HostCost:
    """Peak bytes of main memory for one case, with any network.

    `host_bytes` while it is predicted, `export_bytes` while its logits are resampled from `shape`
    (voxels at the configuration's spacing) to `image_shape` and turned into labels.
    """

    shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    host_bytes: int
    export_bytes: int


@dataclass(frozen=True)
class InferenceCost(HostCost):
    """Peak bytes for one case, on the GPU too."""

    device_bytes: int


def host_cost(
    config: ResolvedConfiguration, input_channels: int, heads: int, *, regions: bool = False
) -> HostCost:
    """The main memory for a case of the median shape, with any network.

    Raises
    ------
    ConfigurationError
        The median shape has another number of axes than the patch.
    """
    shape, image_shape = _shapes(config)
    voxels = _covered_voxels(config, shape)
    return HostCost(
        shape,
        image_shape,
        4 * input_channels * voxels + 2 * heads * voxels,
        _export(heads, prod(shape), prod(image_shape), shape != image_shape, regions),
    )


def inference_cost(
    config: ResolvedConfiguration, layers: SizedLayers, *, regions: bool = False
) -> InferenceCost:
    """The cost of a case of the median shape.

    Raises
    ------
    ConfigurationError
        The median shape has another number of axes than the patch.
    """
    heads, patch_voxels = layers.output_heads, prod(config.patch_size)
    host = host_cost(config, layers.input_channels, heads, regions=regions)
    voxels = _covered_voxels(config, host.shape)
    image = 4 * layers.input_channels * voxels
    results = 2 * heads * voxels + 2 * voxels
    tiles = 3 * 2 * heads * patch_voxels + 2 * 4 * layers.input_channels * patch_voxels
    weights = 6 * count_parameters(layers)
    at_a_patch = inference_peak(layers) + tiles + 2 * patch_voxels
    finite_check = weights + 3 * heads * voxels
    device_bytes = image + results + max(at_a_patch, finite_check)
    return InferenceCost(**vars(host), device_bytes=device_bytes)


def _covered_voxels(config: ResolvedConfiguration, shape: tuple[int, ...]) -> int:
    """Of a case that is padded to at least a patch."""
    padding = len(shape) - config.dim
    if padding not in (0, 1):
        raise config.error(
            f"median_image_size_in_voxels has {counted(len(shape), 'axis', 'axes')}, patch_size "
            f"has {config.dim}."
        )
    patch = (1,) * padding + config.patch_size
    return prod(max(size, edge) for size, edge in zip(shape, patch, strict=True))


def _export(heads: int, voxels: int, image_voxels: int, resampled: bool, regions: bool) -> int:
    logits, result = 2 * heads * voxels, 2 * heads * image_voxels
    resampling = logits + 8 * heads * voxels + result + 2 * 8 * image_voxels if resampled else 0
    probabilities = 2 * 4 * heads * image_voxels if regions else 0
    labels = logits + (result if resampled else 0) + probabilities + 8 * image_voxels
    return max(resampling, labels)


def _shapes(config: ResolvedConfiguration) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The median case at the configuration's spacing, and as the images have it.

    A 2D configuration keeps the image's slices. Plans that do not say what images are like are
    taken to leave them as they are.
    """
    shape = tuple(round(size) for size in config.median_image_size_in_voxels)
    original = config.plans.original_median_shape_after_transp
    image = tuple(round(size) for size in original) if original else shape
    if len(image) == len(shape) + 1:
        shape = (image[0], *shape)
    return shape, image if len(image) == len(shape) else shape
