"""Probabilities of a case on the grid of its image, as nnU-Net stores them for ensembles.

nnU-Net takes the softmax of all heads at once on the new grid: for 50 heads of a CT, 16 GB and as
much again for the logits. Here each head is resampled twice, once to add up what softmax divides
by, once to be written; no more than two heads are held.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.files import replace_file
from resenc_plans.inference.export.case import ExportRecipe, box_of, inverse
from resenc_plans.inference.export.interpolation import Logits
from resenc_plans.inference.export.npz_stream import write_npz
from resenc_plans.inference.export.resampled_heads import ResampledHeads
from resenc_plans.safe_pickle import dump_pickle

FloatArray = npt.NDArray[np.float32]
ToProbability = Callable[[int, FloatArray], FloatArray]

ARRAY_NAME = "probabilities"
"""The name of the array in the file."""


def write_probabilities(
    path: str | os.PathLike[str],
    logits: Logits,
    properties: Mapping[str, Any],
    recipe: ExportRecipe,
) -> None:
    """Write `path` (.npz) with an array `probabilities`, and the properties beside it (.pkl).

    The array is (heads, z, y, x), float32, on the grid of the image file, equal to nnU-Net's to
    1e-5: softmax, or the sigmoid of each head with regions. Outside the box that preprocessing
    cropped to, it is 1 for the background and 0 for the others.

    Raises
    ------
    FileError
        A file cannot be written.
    """
    path = Path(path)
    shape_before = tuple(int(length) for length in properties["shape_before_cropping"])
    spacing, image_spacing = recipe.spacings(properties)
    box = box_of(properties)
    heads = ResampledHeads(
        logits,
        tuple(axis.stop - axis.start for axis in box),
        recipe.interpolation,
        spacing,
        image_spacing,
    )
    backward = inverse(recipe.transpose_forward)
    whole = np.empty(shape_before, np.float32)
    turned = whole.transpose(backward)
    to_probability = _sigmoid if recipe.regions is not None else _softmax(heads)
    with write_npz(path, ARRAY_NAME, (logits.shape[0], *turned.shape), np.float32) as array:
        for head in range(logits.shape[0]):
            whole[...] = head == 0 and recipe.regions is None
            inner = whole[box]

            def put(z: int, plane: FloatArray, inner: FloatArray = inner) -> None:
                inner[z] = to_probability(z, plane)

            heads.each_plane(head, put)
            for plane in turned:
                array.write(plane)
    with replace_file(path.with_suffix(".pkl")) as stream:
        stream.write(dump_pickle(dict(properties)))


def _sigmoid(z: int, plane: FloatArray) -> FloatArray:
    del z
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-plane)), np.float32)


def _softmax(heads: ResampledHeads) -> ToProbability:
    """A function from a head's plane to its probabilities, once all heads were added up."""
    log_of_sum = _log_of_summed_exponentials(heads)

    def probability(z: int, plane: FloatArray) -> FloatArray:
        return np.asarray(np.exp(plane - log_of_sum[z]), np.float32)

    return probability


def _log_of_summed_exponentials(heads: ResampledHeads) -> FloatArray:
    largest = np.full(heads.shape, -np.inf, np.float32)
    total = np.zeros(heads.shape, np.float32)

    def add(z: int, plane: FloatArray) -> None:
        before = largest[z].copy()
        np.maximum(before, plane, out=largest[z])
        total[z] *= np.exp(before - largest[z])
        total[z] += np.exp(plane - largest[z])

    for head in range(heads.logits.shape[0]):
        heads.each_plane(head, add)
    largest += np.log(total, out=total)
    return largest
