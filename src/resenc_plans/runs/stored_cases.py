"""The stored cases that a configuration is trained on: where they lie, and whether they fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import FileError, PreprocessingError, Remedy
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.store.case_store import PROPERTIES, CaseStore, case_file
from resenc_plans.preprocessing.store.folder import store_folder
from resenc_plans.preprocessing.store.manifest import stale_cases
from resenc_plans.words import counted


def open_store(config: ResolvedConfiguration) -> CaseStore:
    """The stored cases of a configuration.

    Raises
    ------
    FileError
        There are none; the message says how they are made.
    PlansError
        The plans were never saved.
    """
    folder = store_folder(config.plans.folder, config)
    with mended_by_preprocessing(config):
        return CaseStore(folder)


@contextmanager
def mended_by_preprocessing(config: ResolvedConfiguration) -> Iterator[None]:
    """Add to what goes wrong with stored cases that they have to be preprocessed."""
    try:
        yield
    except (FileError, PreprocessingError) as error:
        raise error.with_remedy(Remedy("preprocess", config.name, config.plans.path)) from None


def check_stored_cases(
    store: CaseStore, cases: tuple[str, ...], config: ResolvedConfiguration, dataset: Dataset
) -> None:
    """Look at every case, so that a damaged or stale one is found before the first batch.

    Of the properties only the ends are read: class locations can be many megabytes. Whether a case
    is stale is known of the cases that we have stored, not of nnU-Net's.

    Raises
    ------
    FileError
        An array is missing or damaged.
    PreprocessingError
        A case was preprocessed by other plans or labels, has other channels than the plans, image
        and labels differ in shape, or the properties are damaged.
    """
    with mended_by_preprocessing(config):
        _check_all(store, cases, config, dataset)


def _check_all(
    store: CaseStore, cases: tuple[str, ...], config: ResolvedConfiguration, dataset: Dataset
) -> None:
    stale = stale_cases(store.folder, cases, config, dataset.json)
    if stale:
        raise PreprocessingError(
            f"{store.folder}: {len(stale)} of {counted(len(cases), 'case was', 'cases were')} "
            "preprocessed before the reader, axes, spacing, normalisation, resampling or labels of "
            f"{config.name} were changed ({', '.join(stale[:3])}{' …' if stale[3:] else ''}). "
            f"Preprocess {config.name} again."
        )
    channels = len(config.normalization_schemes)
    for case in cases:
        image, labels = store.arrays(case)
        if image.shape[0] != channels or image.shape[1:] != labels.shape[1:]:
            raise PreprocessingError(
                f"{store.folder}: {case} has an image of shape {tuple(image.shape)} and labels of "
                f"{tuple(labels.shape)}; {counted(channels, 'channel is', 'channels are')} "
                "expected. Preprocess it again."
            )
        _check_pickle(case_file(store.folder, case, PROPERTIES))


def _check_pickle(path: Path) -> None:
    """A pickle begins with PROTO and ends with STOP."""
    try:
        with path.open("rb") as stream:
            first = stream.read(1)
            stream.seek(max(0, path.stat().st_size - 1))
            last = stream.read(1)
    except OSError as error:
        raise PreprocessingError(
            f"{path}: cannot be read ({error.strerror}). Preprocess the case again."
        ) from None
    if (first, last) != (b"\x80", b"."):
        raise PreprocessingError(f"{path}: is damaged. Preprocess the case again.")
