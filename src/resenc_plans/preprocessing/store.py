"""Preprocessed cases on disk, in nnU-Net's layout: what it wrote we read, what we write it reads.

A case is three files: `<case>.b2nd` (image), `<case>_seg.b2nd` (segmentation), `<case>.pkl`
(properties). Blocks and chunks are nnU-Net's; the codec is Zstandard at its fastest level, which
on real images packs tighter than nnU-Net's LZ4HC and eight times as fast, and nnU-Net reads it
just the same. Older folders have `<case>.npz`, or unpacked `<case>.npy` and `<case>_seg.npy`.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from resenc_plans.errors import FileError
from resenc_plans.preprocessing.case import StoredCase
from resenc_plans.preprocessing.pickles import dump_pickle, load_pickle
from resenc_plans.preprocessing.store_layout import store_layout

IMAGE, LABELS, PROPERTIES = ".b2nd", "_seg.b2nd", ".pkl"
SUFFIXES = (IMAGE, LABELS, PROPERTIES)

OWN_FOLDER = ".resenc-plans"
"""Within the store: the manifest, and files that are being written. nnU-Net looks at files only."""
STAGING = "staging"


class LazyArray(Protocol):
    """An array on disk: slicing reads the blocks that the slice touches."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape (c, z, y, x)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the voxels."""
        ...

    def __getitem__(self, item: Any, /) -> Any:
        """The part of the array, as a NumPy array."""
        ...


@dataclass(frozen=True)
class OpenCase:
    """A stored case, of which nothing is read yet but the headers."""

    name: str
    image: LazyArray
    """(c, z, y, x), float32."""
    labels: LazyArray
    """(1, z, y, x)."""
    properties: dict[str, Any]


class CaseStore(Mapping[str, OpenCase]):
    """A folder of preprocessed cases.

    >>> store = CaseStore("nnUNetPlans_3d_fullres")  # doctest: +SKIP
    >>> store["case_001"].image[:, 10:20, :64, :64]  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileError(
                f"{self.folder}: no such folder of preprocessed cases. Run the command preprocess."
            )

    def __getitem__(self, name: str) -> OpenCase:
        """Open a case.

        Raises
        ------
        KeyError
            There is no such case.
        FileError
            A file of it is missing or damaged.
        """
        if name not in self:
            raise KeyError(name)
        if (self.folder / (name + IMAGE)).is_file():
            image, labels = (_open_blosc2(self.folder / (name + s)) for s in (IMAGE, LABELS))
        else:
            image, labels = _open_numpy(self.folder, name)
        return OpenCase(name, image, labels, self.properties(name))

    def __contains__(self, name: object) -> bool:
        return any((self.folder / f"{name}{suffix}").is_file() for suffix in (IMAGE, ".npz"))

    def __iter__(self) -> Iterator[str]:
        names = set()
        for entry in os.scandir(self.folder):
            if entry.name.endswith(IMAGE) and not entry.name.endswith(LABELS):
                names.add(entry.name.removesuffix(IMAGE))
            elif entry.name.endswith(".npz"):
                names.add(entry.name.removesuffix(".npz"))
        return iter(sorted(names))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def properties(self, name: str) -> dict[str, Any]:
        """What is known of a case beside its arrays.

        Raises
        ------
        FileError
            The file is missing, damaged, or holds more than plain data.
        """
        path = self.folder / (name + PROPERTIES)
        properties = load_pickle(path)
        if not isinstance(properties, dict):
            raise FileError(f"{path}: holds a {type(properties).__name__}, not properties.")
        return properties


def write_case(
    folder: str | os.PathLike[str],
    name: str,
    case: StoredCase,
    patch_size: Sequence[int],
    threads: int = 1,
) -> tuple[Path, ...]:
    """Store a case; its three files appear whole, the image last, or not at all.

    Parameters
    ----------
    folder
        The store; it is created if need be.
    name
        Name of the case.
    case
        What is stored.
    patch_size
        Voxels (z, y, x) or (y, x) that training reads at once; blocks and chunks follow from it.
    threads
        How many threads compress.

    Raises
    ------
    FileError
        The disk is full, or there is no permission to write. What was there before is unchanged.
    """
    folder = Path(folder)
    staging = folder / OWN_FOLDER / STAGING
    token = secrets.token_hex(4)
    staged = {suffix: staging / f"{name}.{token}{suffix}" for suffix in SUFFIXES}
    try:
        staging.mkdir(parents=True, exist_ok=True)
        _write_blosc2(staged[IMAGE], case.image, patch_size, threads)
        _write_blosc2(staged[LABELS], case.labels, patch_size, threads)
        staged[PROPERTIES].write_bytes(dump_pickle(case.properties))
        for path in staged.values():
            _sync(path)
        return _publish(folder, name, staged)
    except (OSError, RuntimeError) as error:
        raise FileError(_why_not_stored(folder, name, error)) from error
    finally:
        for path in staged.values():
            path.unlink(missing_ok=True)


def _publish(folder: Path, name: str, staged: Mapping[str, Path]) -> tuple[Path, ...]:
    """Move staged files to their places, so that a case with an image is always complete."""
    final = {suffix: folder / (name + suffix) for suffix in SUFFIXES}
    final[IMAGE].unlink(missing_ok=True)
    for suffix in (LABELS, PROPERTIES, IMAGE):
        staged[suffix].replace(final[suffix])
    return tuple(final[suffix] for suffix in SUFFIXES)


def _write_blosc2(
    path: Path, array: npt.NDArray[Any], patch_size: Sequence[int], threads: int
) -> None:
    import blosc2

    layout = store_layout(array.shape, patch_size, array.itemsize)
    options = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": threads}
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(path),
        chunks=layout.chunks,
        blocks=layout.blocks,
        cparams={
            **options,
            "filters": [_best_filter(array, layout.chunks, layout.blocks, options)],
        },
    )


def _best_filter(
    array: npt.NDArray[Any], chunks: Sequence[int], blocks: Sequence[int], options: dict[str, Any]
) -> Any:
    """The filter that makes the central chunk smallest.

    Which one does depends on the data: shuffling bytes helps interpolated intensities and harms
    those that took few values before normalisation. nnU-Net tries it out likewise.
    """
    import blosc2

    extent = [min(chunk, length) for chunk, length in zip(chunks, array.shape, strict=True)]
    starts = [(length - part) // 2 for part, length in zip(extent, array.shape, strict=True)]
    centre = np.ascontiguousarray(
        array[tuple(slice(s, s + part) for s, part in zip(starts, extent, strict=True))]
    )

    def compressed_size(candidate: Any) -> int:
        cparams = {**options, "filters": [candidate]}
        trial = blosc2.asarray(centre, chunks=tuple(extent), blocks=tuple(blocks), cparams=cparams)
        return int(trial.schunk.cbytes)

    candidates = (blosc2.Filter.NOFILTER, blosc2.Filter.SHUFFLE, blosc2.Filter.BITSHUFFLE)
    return min(candidates, key=compressed_size)


def _open_blosc2(path: Path) -> LazyArray:
    import blosc2

    mapping: dict[str, Any] = {} if os.name == "nt" else {"mmap_mode": "r"}
    try:
        array: LazyArray = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, **mapping)
    except (OSError, RuntimeError) as error:
        reason = "is missing" if not path.exists() else f"cannot be opened ({error})"
        raise FileError(f"{path}: {reason}. Preprocess the case again.") from None
    return array


def _open_numpy(folder: Path, name: str) -> tuple[LazyArray, LazyArray]:
    """A case of nnU-Net's older layout: unpacked arrays where they are, else the archive."""
    archive = folder / f"{name}.npz"
    try:
        parts = {}
        for key, unpacked in (("data", f"{name}.npy"), ("seg", f"{name}_seg.npy")):
            if (folder / unpacked).is_file():
                parts[key] = np.load(folder / unpacked, mmap_mode="r", allow_pickle=False)
            else:
                with np.load(archive, allow_pickle=False) as arrays:
                    parts[key] = arrays[key]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise FileError(f"{archive}: damaged ({error}). Preprocess the case again.") from None
    return parts["data"], parts["seg"]


def _sync(path: Path) -> None:
    """Make what was written durable before its name is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why_not_stored(folder: Path, name: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"Case {name}: not stored, no permission to write in {folder}."
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return (
        f"Case {name}: not stored in {folder}: {reason} ({free / 1e6:.0f} MB free on this disk). "
        "Is the disk full?"
    )
