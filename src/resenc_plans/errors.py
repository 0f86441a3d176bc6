"""What can go wrong, as types.

Every error that this package raises on purpose descends from one class, so that a caller
can catch all of them at once and the command line can print them in one place::

    ResencPlansError
    ├── FileError            a file cannot be read, parsed or written
    │   └── LockedError          another process is writing to the folder
    ├── PlansError           a plans file says something impossible
    │   ├── InheritanceError     a cycle, or a parent that does not exist
    │   └── ConfigurationError   one configuration is incomplete or contradictory
    ├── DatasetError         a dataset folder, dataset.json or an image is not usable
    ├── FingerprintError     a fingerprint is damaged or does not fit its dataset
    ├── PlanningError        no plans can be made from what was asked for
    ├── NetworkError         a network cannot be imported, built or run
    ├── PreprocessingError   stored cases are missing, stale or damaged, or cannot be made
    ├── TrainingError        a training cannot begin, go on or resume
    ├── ModelError           a trained model, checkpoint or archive is missing or unusable
    ├── PredictionError      a case or a folder cannot be predicted
    ├── EvaluationError      predictions cannot be compared with references
    │   └── MissingProbabilitiesError   a validation has none, so it cannot join an ensemble
    ├── StudyError           a study says something impossible, or cannot be run or checked
    ├── DeviceError          a device does not exist or lacks memory
    ├── WorkerError          a process that worked on cases is gone
    │   └── WorkerStartError     no worker can be started or reached
    └── UsageError           options or arguments contradict each other, or are of another kind

A message says what is wrong, where (file, configuration, key, case) and what to do.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, Self

MAX_VALUE = 80
"""Characters of a name or a value in a message."""
MAX_WORD, MAX_LINE = 600, 2000
"""Characters of a word (a path, say) and of a line in a message."""


def shown(value: object, width: int = MAX_VALUE) -> str:
    """A name or a value from a file for a message: quoted, on one line, cut where it is long.

    >>> shown("a" * 100, 12), shown([1, 2, 3])
    ("'aaaaaaa...'", '[1, 2, 3]')
    """
    if isinstance(value, str):
        return repr(value if len(value) <= width else f"{value[: width - 5]}...")
    try:
        text = repr(value)
    except ValueError:  # Python converts integers of up to 4300 digits
        return "a number of very many digits"
    return text if len(text) <= width else f"{text[: width - 3]}..."


def first_line(error: BaseException) -> str:
    """What an exception of another library says, for a message of ours: its first line, cut."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]


def bounded(message: str) -> str:
    """A message of which no word and no line is endless, whatever a file holds: cut in the middle.

    >>> len(bounded("The key " + "x" * 10**6 + " is unknown."))
    620
    """
    lines = []
    for line in message.split("\n"):
        if len(line) > MAX_WORD:
            line = " ".join(_cut(word, MAX_WORD) for word in line.split(" "))
        lines.append(_cut(line, MAX_LINE))
    return "\n".join(lines)


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    end = length // 4
    return f"{text[: length - end - 3]} … {text[-end:]}"


@dataclass(frozen=True)
class Remedy:
    """A command that mends what an error is about, as far as the error knows it."""

    command: Literal["preprocess"]
    configuration: str
    plans: Path | None
    """Their file."""


class ResencPlansError(Exception):
    """The base of every error that resenc-plans raises on purpose.

    The command line prints `remedy` as a line that can be pasted.
    """

    remedy: Remedy | None = None

    def with_remedy(self, remedy: Remedy) -> Self:
        """The error, with what to run against it."""
        self.remedy = remedy
        return self

    def __init__(self, message: str = "") -> None:
        super().__init__(bounded(message))


class FileError(ResencPlansError):
    """A file cannot be read, is not the JSON it should be, or cannot be written."""


class LockedError(FileError):
    """Another process is writing to the folder."""


class PlansError(ResencPlansError):
    """A plans file says something impossible."""


class InheritanceError(PlansError):
    """`inherits_from` leads in a circle or to a configuration that does not exist."""


class ConfigurationError(PlansError):
    """One configuration is incomplete or contradicts itself."""


class DatasetError(ResencPlansError):
    """A dataset folder, its dataset.json or one of its images cannot be used."""


class FingerprintError(ResencPlansError):
    """A fingerprint is damaged or does not belong to its dataset."""


class PlanningError(ResencPlansError):
    """No plans can be made from what was asked for."""


class NetworkError(ResencPlansError):
    """A network cannot be imported, built or run."""


class PreprocessingError(ResencPlansError):
    """Stored cases are missing, stale or damaged, or cannot be made."""


class TrainingError(ResencPlansError):
    """A training cannot begin, go on or resume."""


class ModelError(ResencPlansError):
    """A trained model, a checkpoint or an archive of models is missing or unusable."""


class PredictionError(ResencPlansError):
    """A case or a folder cannot be predicted."""


class EvaluationError(ResencPlansError):
    """Predictions cannot be compared with references."""


class MissingProbabilitiesError(EvaluationError):
    """A fold's validation has no probabilities, so it cannot be part of an ensemble."""


class StudyError(ResencPlansError):
    """A study's file says something impossible, or the study cannot be run or checked."""


class DeviceError(ResencPlansError):
    """A device does not exist or has too little memory."""


class WorkerError(ResencPlansError):
    """A process that worked on cases is gone."""


class WorkerStartError(WorkerError):
    """No worker process can be started, or no cluster of workers answers."""


class UsageError(ResencPlansError):
    """Options or arguments contradict each other, or an argument is of another kind."""


def expect_type(value: object, kind: type | tuple[type, ...], parameter: str, remedy: str) -> None:
    """Refuse an argument that is of another kind; `remedy` is what to give instead.

    Raises
    ------
    UsageError
        It is.
    """
    if not isinstance(value, kind):
        what = "None" if value is None else f"a {type(value).__name__}"
        raise UsageError(f"`{parameter}=` is {what}. Give {remedy}.")


def refuse_change(value: object, name: str, remedy: str) -> NoReturn:
    """Refuse to set an attribute of a value that cannot change; `remedy` is what to do instead.

    Raises
    ------
    UsageError
        Always.
    """
    raise UsageError(f"{type(value).__name__}.{name} cannot be changed. {remedy}")
