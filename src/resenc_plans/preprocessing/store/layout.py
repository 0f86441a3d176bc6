"""The blocks and chunks of a stored array, chosen so that reading a patch reads little else.

A block is decompressed at once, a chunk is stored together. The shapes are those of nnU-Net's
`comp_blosc2_params`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, prod

BLOCK_BYTES = 128 * 1024
CHUNK_BYTES = 6 * 1024**2
CHUNK_TO_PATCH = 1.5
"""Along each axis, a chunk holds at most this many patches."""

Shape4 = tuple[int, int, int, int]


@dataclass(frozen=True)
class StoreLayout:
    """Shapes (c, z, y, x) of the blocks and chunks of a stored array."""

    blocks: Shape4
    chunks: Shape4


def store_layout(shape: Sequence[int], patch_size: Sequence[int], itemsize: int) -> StoreLayout:
    """The layout of an array (c, z, y, x) that is read in patches of `patch_size`.

    >>> store_layout((1, 300, 512, 512), (128, 128, 128), 4).blocks
    (1, 32, 32, 32)
    """
    patch = (1, *patch_size) if len(patch_size) == 2 else tuple(patch_size)
    lengths = tuple(shape[1:])
    limits = [
        max(1, min(length, floor(CHUNK_TO_PATCH * edge)))
        for length, edge in zip(lengths, patch, strict=True)
    ]
    block = [min(_power_of_two_from(edge), n) for edge, n in zip(patch, lengths, strict=True)]
    while prod(block) * itemsize > BLOCK_BYTES:
        shrinkable = [axis for axis in range(3) if block[axis] > 1]
        axis = max(shrinkable, key=lambda a: (block[a] / limits[a], a))
        block[axis] = _power_of_two_from(block[axis]) // 2
    chunk = list(block)
    axes = [axis for axis in range(3) if patch[axis] > 1]
    while True:
        grown = _grown(chunk, block, limits, axes=axes, lengths=lengths, itemsize=itemsize)
        if grown is None:
            return StoreLayout((1, *block), (1, *chunk))  # type: ignore[arg-type]
        chunk = grown


def _grown(
    chunk: list[int],
    block: list[int],
    limits: list[int],
    *,
    axes: list[int],
    lengths: tuple[int, ...],
    itemsize: int,
) -> list[int] | None:
    """The chunk, a block longer along the axis that it covers least of; None where it is full."""
    best: tuple[tuple[float, int, int], list[int]] | None = None
    for axis in axes:
        candidate = list(chunk)
        candidate[axis] = min(chunk[axis] + block[axis], limits[axis])
        if candidate[axis] <= chunk[axis] or prod(candidate) * itemsize > CHUNK_BYTES:
            continue
        rank = (chunk[axis] / limits[axis], -lengths[axis], axis)
        if best is None or rank < best[0]:
            best = rank, candidate
    return None if best is None else best[1]


def _power_of_two_from(number: int) -> int:
    """The smallest power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()
