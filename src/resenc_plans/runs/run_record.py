"""What a fold was trained with, as run.json in its folder says, and how two such records differ."""

import functools
import hashlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from resenc_plans.errors import FileError
from resenc_plans.files import read_json, write_json
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings

RUN_JSON = "run.json"

_ABOUT_ONE_RUN = {
    *(
        "seed",
        "workers",
        "augment_on",
        "compile",
        "validation_iterations",
        "tensorboard",
        "wandb",
        "mlflow",
    ),
    *("checkpoint_epochs", "checkpoint_minutes", "save_checkpoints", "max_minutes", "precision"),
    *("channels_last", "fused_optimizer"),
}
"""Settings that may differ between the folds of one model. The precision is compared as computed
in, not as it was set."""
_NOT_TRAINED_WITH = {"data_identifier", "median_image_size_in_voxels", "next_stage", "training"}
"""Fields of a configuration that only planning, storage or another stage use, and the settings of
its plans, which are among those of the run."""


class OwnCode(BaseModel):
    """Where a network, a loss or another part of a caller's own is defined."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    import_path: str
    """Module and class or function, such as mynet.MyNet."""
    sha256: str | None
    """Digest of the source file, or of the source alone where there is no file. null: no source."""
    arguments: str = ""
    """Those of a functools.partial."""
    importable: bool = False
    """Whether importing the path gives a class or function of two arguments, input channels and
    output heads."""

    @classmethod
    def of(cls, part: object) -> Self:
        """The code of a class's object, of a function, or of a functools.partial of either.

        A script that runs is named as if it were imported: `train_mine.py` is the module
        train_mine.
        """
        arguments: list[str] = []
        while isinstance(part, functools.partial):
            named = [f"{key}={value!r}" for key, value in part.keywords.items()]
            arguments = [*map(repr, part.args), *named, *arguments]
            part = part.func
        code: Any = part if inspect.isroutine(part) or isinstance(part, type) else type(part)
        name, module = code.__qualname__, _module_name(code.__module__)
        return cls(
            import_path=f"{module}.{name}",
            sha256=_digest(code),
            arguments=", ".join(arguments),
            importable="<" not in name and module != "__main__" and _takes_two(code),
        )

    def __str__(self) -> str:
        """The import path, with arguments if there are any."""
        return f"{self.import_path}({self.arguments})" if self.arguments else self.import_path

    @property
    def module(self) -> str:
        """The module, without class or function."""
        return self.import_path.rpartition(".")[0]


class RunChange(BaseModel):
    """What was changed when a run was resumed, knowingly."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    epoch: int
    """The first epoch, counted from 0, that was trained otherwise, be it in part."""
    differences: tuple[str, ...]
    """What was changed, as clauses."""

    def __str__(self) -> str:
        """One clause."""
        return f"from epoch {self.epoch} ({'; '.join(self.differences)})"


class RunRecord(BaseModel):
    """What a fold was trained with."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    """The first part of the name of the model's folder."""
    configuration: dict[str, Any]
    """The resolved configuration."""
    settings: dict[str, Any]
    """Those of `TrainingSettings`."""
    precision: str
    """The type that was computed in, such as float16."""
    code: dict[str, OwnCode]
    """The parts that were not nnU-Net's, by the parameter of `Trainer` that took them."""
    changes: tuple[RunChange, ...] = ()
    """What was changed on the way; the other fields say how the last epochs were trained."""

    @classmethod
    def of(
        cls,
        name: str,
        config: ResolvedConfiguration,
        settings: TrainingSettings,
        precision: str,
        parts: Mapping[str, object],
    ) -> Self:
        """The record of a run that is to begin; `parts` are the caller's own."""
        return cls(
            name=name,
            configuration=config.to_dict(),
            settings=settings.model_dump(),
            precision=precision,
            code={key: OwnCode.of(part) for key, part in parts.items()},
        )

    @property
    def flat_settings(self) -> dict[str, Any]:
        """The settings by dotted keys, in their present form, with all defaults."""
        return _flat(TrainingSettings.model_validate(self.settings).model_dump())

    def with_epochs(self, epochs: int) -> Self:
        """The record of a run that ends after so many epochs."""
        return self.model_copy(update={"settings": self.settings | {"epochs": epochs}})

    def after(self, before: Self, epoch: int, differences: Sequence[str]) -> Self:
        """The record of a run that goes on from an epoch, differing so from what was `before`."""
        change = (RunChange(epoch=epoch, differences=tuple(differences)),) if differences else ()
        return self.model_copy(update={"changes": (*before.changes, *change)})

    @classmethod
    def load(cls, run: Path) -> Self | None:
        """The record in the folder of a fold; None where it has none, as nnU-Net's have.

        Raises
        ------
        FileError
            It is damaged.
        """
        path = run / RUN_JSON
        if not path.is_file():
            return None
        try:
            record = cls.model_validate(read_json(path))
            TrainingSettings.model_validate(record.settings)
            return record
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise FileError(
                f"{path}: not the record of a training ({where}: {fault['msg']})."
            ) from None

    def save(self, run: Path) -> None:
        """Write the record into the folder of a fold.

        Raises
        ------
        FileError
            It cannot be written.
        """
        write_json(run / RUN_JSON, self.model_dump())


def differences(before: RunRecord, now: RunRecord) -> tuple[str, ...]:
    """How a run differs from an earlier one in what decides its result, as clauses.

    Seed, number of workers and the like are no differences: the folds of one model may differ in
    them.
    """
    return (
        *changes(_decisive(before), _decisive(now)),
        *changed_code(before.code, now.code),
    )


def changed_code(before: Mapping[str, OwnCode], now: Mapping[str, OwnCode]) -> tuple[str, ...]:
    """Which parts of the same import path come from other source, as clauses."""
    return tuple(
        f"{part}: the code of {now[part].import_path} has changed"
        for part in sorted(before.keys() & now.keys())
        if before[part].import_path == now[part].import_path
        and before[part].sha256 != now[part].sha256
    )


def decisive_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the flat settings that decide the result, without seed, workers and the like."""
    return {
        key: value for key, value in settings.items() if key.partition(".")[0] not in _ABOUT_ONE_RUN
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two mappings, as clauses `key OLD, now NEW`.

    >>> changes({"epochs": 5, "spacing": (1, 1.5)}, {"epochs": 9, "spacing": [1.0, 1.5]})
    ['epochs 5, now 9']
    """
    keys = dict.fromkeys((*before, *now))
    return [
        f"{key} {_text(before.get(key))}, now {_text(now.get(key))}"
        for key in keys
        if not equal_values(before.get(key), now.get(key))
    ]


def decisive_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What of a resolved configuration decides the result, by dotted keys."""
    return {
        key: value
        for key, value in _flat(configuration).items()
        if key.partition(".")[0] not in _NOT_TRAINED_WITH
    }


def _decisive(record: RunRecord) -> dict[str, Any]:
    return {
        **decisive_settings(record.flat_settings),
        "precision": record.precision,
        **decisive_configuration(record.configuration),
        **{part: str(code) for part, code in record.code.items()},
        **({"changed on the way": "; ".join(map(str, record.changes))} if record.changes else {}),
    }


def _flat(document: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= (
            _flat(value, f"{before}{key}.")
            if isinstance(value, Mapping)
            else {f"{before}{key}": value}
        )
    return flat


def _module_name(module: str) -> str:
    """A module's name as it is imported, also of the one that runs as a script."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    stem = Path(file).stem if file else module
    return stem if stem.isidentifier() else module


def _digest(code: Any) -> str | None:
    try:
        file = inspect.getsourcefile(code)
        if file is not None and Path(file).is_file():
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()
        return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()
    except (OSError, TypeError):
        return None


def _takes_two(code: Any) -> bool:
    try:
        inspect.signature(code).bind(1, 1)
    except (TypeError, ValueError):
        return False
    return True


def equal_values(before: Any, now: Any) -> bool:
    """Whether two values are the same, but for the last digits of numbers and kinds of lists."""
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(equal_values, before, now))
    if isinstance(before, float) and isinstance(now, int | float):
        try:
            return isclose(before, now, rel_tol=1e-6)
        except OverflowError:  # an integer beyond all fractions
            return False
    return bool(before == now)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple) and value and not isinstance(value[0], str | list | tuple):
        return "x".join(f"{part:.6g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)
