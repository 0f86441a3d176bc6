"""Preprocessed cases on disk, in nnU-Net's layout: each of us reads what the other writes.

A case is three files: `<case>.b2nd` (image), `<case>_seg.b2nd` (segmentation), `<case>.pkl`
(properties). Blocks and chunks are nnU-Net's; the codec is Zstandard at low levels, which
compresses real images more than nnU-Net's LZ4HC, three to eight times as fast, and which nnU-Net
reads just the same. Older folders have `<case>.npz`, or unpacked `<case>.npy` and `<case>_seg.npy`.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from resenc_plans.errors import FileError, PreprocessingError, first_line, shown
from resenc_plans.execution.locks import LockWatch
from resenc_plans.execution.unfinished import unfinished_folder
from resenc_plans.files import check_regular, make_folder, move, open_regular, part_of_path, writing
from resenc_plans.preprocessing.case import StoredCase
from resenc_plans.preprocessing.class_locations import ClassLocations
from resenc_plans.preprocessing.store.layout import store_layout
from resenc_plans.safe_pickle import dump_pickle, load_pickle

IMAGE, LABELS, PROPERTIES = ".b2nd", "_seg.b2nd", ".pkl"
SUFFIXES = (IMAGE, LABELS, PROPERTIES)
MAX_VOXELS = 2**38
"""Of a stored case; a CT of the whole body has 2^30."""

OWN_FOLDER = ".resenc-plans"
"""Within the store: the manifest, and files that are being written. nnU-Net looks at files only."""
STAGING = "staging"


@dataclass(frozen=True)
class Packing:
    """How blocks are compressed: a filter of blosc2, and a level of Zstandard."""

    filter: str
    level: int


IMAGE_PACKINGS = (Packing("NOFILTER", 2), Packing("SHUFFLE", 1))
"""Shuffled bytes suit interpolated intensities, and harm those that take few values."""
LABEL_PACKINGS = (Packing("BITSHUFFLE", 1),)


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


class StoredArray:
    """A blosc2 file, of which a slice reads the blocks that it touches; its errors name the file.

    blosc2 keeps no checksum of what it compresses. Of a block whose bytes have changed it either
    finds that they cannot be decompressed, or returns other values: that is found by a check of the
    store, which compares digests of whole files.
    """

    def __init__(self, path: Path, array: Any, remedy: str) -> None:
        self.path = path
        self._remedy = remedy
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self._array = array

    def __getitem__(self, item: Any, /) -> Any:
        """The part of the array, as a NumPy array.

        Raises
        ------
        FileError
            It cannot be decompressed, or does not fit into memory.
        """
        try:
            return self._array[item]
        except Exception as error:  # blosc2 raises anything on damaged bytes
            raise FileError(
                f"{self.path}: cannot be read ({first_line(error)}). {self._remedy} A check of "
                "the stored cases finds all that are damaged."
            ) from None


def open_array(path: Path, remedy: str = "Preprocess the case again.") -> StoredArray:
    """Open a blosc2 file, reading its header only; `remedy` is what to do about a damaged one.

    Raises
    ------
    FileError
        It is missing, is damaged, holds no numbers, or claims to be larger than any case.
    """
    import blosc2

    if not path.exists():
        raise FileError(f"{path}: is missing. {remedy}")
    check_regular(path)
    mapping: dict[str, Any] = {} if os.name == "nt" else {"mmap_mode": "r"}
    try:
        array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, **mapping)
        stored = StoredArray(path, array, remedy)
        grid = zip(array.shape, array.chunks, strict=True)
        chunks = prod(-(-size // max(1, of_chunk)) for size, of_chunk in grid)
        is_whole = chunks == array.schunk.nchunks
    except Exception as error:  # blosc2 raises anything on damaged bytes
        raise FileError(f"{path}: cannot be opened ({first_line(error)}). {remedy}") from None
    if not is_whole:  # blosc2 would allocate what the header claims
        raise FileError(
            f"{path}: cannot be opened (it does not hold the {shown(stored.shape)} values that "
            f"its header claims). {remedy}"
        )
    if stored.dtype.kind not in "fiu" or prod(stored.shape) > MAX_VOXELS:
        raise FileError(
            f"{path}: cannot be opened: {shown(stored.shape)} values of {stored.dtype} are no "
            f"case. {remedy}"
        )
    return stored


def load_numpy(
    path: Path, key: str | None = None, remedy: str = "Preprocess the case again."
) -> npt.NDArray[Any]:
    """An array of an .npz file, or with no `key` an .npy file, of which slices are read.

    Raises
    ------
    FileError
        It is missing, damaged, or holds no numbers.
    """
    try:
        if key is None:
            check_regular(path)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with open_regular(path) as stream, np.load(stream, allow_pickle=False) as arrays:
                array = arrays[key]
    except FileError:
        raise
    except Exception as error:  # NumPy and zipfile raise anything on damaged bytes
        raise FileError(f"{path}: damaged ({first_line(error)}). {remedy}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise FileError(f"{path}: damaged (it holds no numbers). {remedy}")
    return array


@dataclass(frozen=True)
class OpenCase:
    """A stored case, of which only the headers have been read."""

    name: str
    image: LazyArray
    """(c, z, y, x), float32."""
    labels: LazyArray
    """(1, z, y, x)."""
    properties: dict[str, Any]


def case_file(folder: Path, name: str, suffix: str) -> Path:
    """A file of a case in a store.

    Raises
    ------
    FileError
        The case has a name that no file can have.
    """
    return folder / part_of_path(name, "case", ending=suffix)


class CaseStore:
    """A folder of preprocessed cases, by name; iteration gives the names in order.

    >>> store = CaseStore("nnUNetPlans_3d_fullres")  # doctest: +SKIP
    >>> store["case_001"].image[:, 10:20, :64, :64]  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileError(
                f"{self.folder}: no such folder of preprocessed cases. "
                "Preprocess the dataset first."
            )

    def __getitem__(self, name: str) -> OpenCase:
        """Open a case.

        Raises
        ------
        PreprocessingError
            There is no such case.
        FileError
            A file of it is missing or damaged.
        """
        image, labels = self.arrays(name)
        return OpenCase(name, image, labels, self.properties(name))

    def __contains__(self, name: object) -> bool:
        return any(
            case_file(self.folder, str(name), suffix).is_file() for suffix in (IMAGE, ".npz")
        )

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

    def arrays(self, name: str) -> tuple[LazyArray, LazyArray]:
        """Image (c, z, y, x) and labels (1, z, y, x) of a case; raises as indexing does."""
        if name not in self:
            raise PreprocessingError(
                f"{self.folder}: has no image of {name}. Preprocess the case again."
            )
        arrays: tuple[LazyArray, LazyArray]
        if case_file(self.folder, name, IMAGE).is_file():
            image, labels = (open_array(case_file(self.folder, name, s)) for s in (IMAGE, LABELS))
            arrays = image, labels
        else:
            arrays = _open_numpy(self.folder, name)
        for array in arrays:
            if len(array.shape) != 4:
                raise FileError(
                    f"{self.folder}: {name}: has the shape {shown(array.shape)}, not "
                    "(channels, z, y, x). Preprocess the case again."
                )
        return arrays

    def properties(self, name: str) -> dict[str, Any]:
        """The properties of a case: what is stored beside its arrays.

        Raises
        ------
        FileError
            The file is missing, damaged, or holds more than plain data.
        """
        path = case_file(self.folder, name, PROPERTIES)
        properties = load_pickle(path)
        if not isinstance(properties, dict):
            raise FileError(f"{path}: holds a {type(properties).__name__}, not properties.")
        return properties

    def class_locations(self, name: str) -> ClassLocations:
        """Sampled voxels of each class of a case, see `preprocessing.class_locations`.

        Raises
        ------
        FileError
            They cannot be read, or the case was stored without them.
        """
        locations = self.properties(name).get("class_locations")
        if not isinstance(locations, dict) or not all(map(_is_places, locations.values())):
            raise FileError(
                f"{case_file(self.folder, name, PROPERTIES)}: has no class_locations that can "
                "be used: was the case stored without labels? Preprocess it again, with its labels."
            )
        return locations


def write_case(
    folder: str | os.PathLike[str],
    name: str,
    case: StoredCase,
    patch_size: Sequence[int],
    *,
    run: LockWatch | None = None,
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
    run
        Of the run that the case is for: once that has ended, no file appears.

    Raises
    ------
    FileError
        The disk is full, there is no permission to write, the run has ended, or no file can have
        such a name. Existing files are unchanged.
    """
    folder = Path(folder)
    final = {suffix: case_file(folder, name, suffix) for suffix in SUFFIXES}
    staging = folder / OWN_FOLDER / STAGING
    token = secrets.token_hex(4)
    staged = {suffix: staging / part_of_path(token, "case", ending=suffix) for suffix in SUFFIXES}
    try:
        if run is not None:
            run.expect_held()
        make_folder(staging)
        with writing(final[IMAGE], staged[IMAGE]):
            _write_blosc2(staged[IMAGE], case.image, patch_size, IMAGE_PACKINGS)
        with writing(final[LABELS], staged[LABELS]):
            _write_blosc2(staged[LABELS], case.labels, patch_size, LABEL_PACKINGS)
        with writing(final[PROPERTIES]):
            staged[PROPERTIES].write_bytes(dump_pickle(case.properties))
        if run is not None:
            run.expect_held()
        with writing(final[IMAGE]):
            return _publish(staged, final)
    finally:
        for path in staged.values():
            path.unlink(missing_ok=True)


def write_labels(path: Path, labels: npt.NDArray[Any]) -> None:
    """Store a segmentation (z, y, x) alone, whole or not at all.

    Raises
    ------
    FileError
        It cannot be written; an existing file is unchanged.
    """
    import blosc2

    packing = {"codec": blosc2.Codec.ZSTD, "clevel": LABEL_PACKINGS[0].level}
    with writing(path), unfinished_folder(path.parent) as staging:
        staged = staging / "labels.b2nd"
        with writing(path, staged):
            blosc2.asarray(np.ascontiguousarray(labels), urlpath=str(staged), cparams=packing)
        move(staged, path)


def _publish(staged: Mapping[str, Path], final: Mapping[str, Path]) -> tuple[Path, ...]:
    """Move staged files to their places, so that a case with an image is always complete."""
    final[IMAGE].unlink(missing_ok=True)
    for suffix in (LABELS, PROPERTIES, IMAGE):
        move(staged[suffix], final[suffix])
    return tuple(final[suffix] for suffix in SUFFIXES)


def _write_blosc2(
    path: Path,
    array: npt.NDArray[Any],
    patch_size: Sequence[int],
    packings: Sequence[Packing],
) -> None:
    """Write an array in the packing that makes its central chunk smallest."""
    import blosc2

    layout = store_layout(array.shape, patch_size, array.itemsize)
    shape = tuple(min(pair) for pair in zip(layout.chunks, array.shape, strict=True))
    starts = [(length - part) // 2 for part, length in zip(shape, array.shape, strict=True)]
    centre = array[tuple(slice(s, s + part) for s, part in zip(starts, shape, strict=True))]

    def packed(part: npt.NDArray[Any], packing: Packing, **target: str) -> Any:
        cparams = {
            "codec": blosc2.Codec.ZSTD,
            "clevel": packing.level,
            "filters": [blosc2.Filter[packing.filter]],
            "nthreads": 1,  # or the order of blocks, and so the file, would be left to chance
        }
        return blosc2.asarray(
            np.ascontiguousarray(part),
            chunks=tuple(min(pair) for pair in zip(layout.chunks, part.shape, strict=True)),
            blocks=layout.blocks,
            cparams=cparams,
            **target,
        )

    if len(packings) == 1:
        packed(array, packings[0], urlpath=str(path))
        return
    trials = [packed(centre, packing) for packing in packings]
    best = min(range(len(packings)), key=lambda index: trials[index].schunk.cbytes)
    if centre.shape == array.shape:
        path.write_bytes(trials[best].to_cframe())
    else:
        packed(array, packings[best], urlpath=str(path))


def _is_places(value: Any) -> bool:
    """Whether a class's voxels are what can be drawn from: rows of four indices, or none."""
    if isinstance(value, list | tuple):  # not made an array: it may hold itself many times over
        return all(
            isinstance(row, list | tuple)
            and len(row) == 4
            and all(isinstance(index, int | np.integer) for index in row)
            for row in value
        )
    return isinstance(value, np.ndarray) and (
        value.size == 0 or (value.ndim == 2 and value.shape[1] == 4 and value.dtype.kind in "iu")
    )


def _open_numpy(folder: Path, name: str) -> tuple[LazyArray, LazyArray]:
    """A case of nnU-Net's older layout: unpacked arrays if they exist, else the archive."""
    archive = case_file(folder, name, ".npz")
    unpacked = case_file(folder, name, ".npy"), case_file(folder, name, "_seg.npy")
    image, labels = (
        load_numpy(path) if path.is_file() else load_numpy(archive, key)
        for key, path in zip(("data", "seg"), unpacked, strict=True)
    )
    return image, labels
