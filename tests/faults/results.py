"""What a job has left in a folder, in a form that is equal where the results are.

What tells times is left out; everything else counts to the last bit.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resenc_plans.preprocessing.store.manifest import MANIFEST
from resenc_plans.runs.checkpoint import OWN_KEY
from resenc_plans.runs.prediction_record import ARGUMENTS_JSON
from resenc_plans.runs.run_cost import COST_JSON
from resenc_plans.runs.run_folder import METRICS, PROGRESS_PNG, TRAINING_LOG

TIMES = {"begun", "ended", "waited", "epoch_seconds", "mtime_ns"}
TIMES |= {"epoch_start_timestamps", "epoch_end_timestamps"}
"""Keys whose values are times, or depend on them."""
NOT_COMPARED = {COST_JSON, PROGRESS_PNG, TRAINING_LOG}
"""Files that are about time."""


def results_of(folder: Path) -> dict[str, str]:
    """A digest for each file, by its path; what runs have moved to `replaced` is left out."""
    return {
        name: digest(path, folder)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "/replaced/" not in (name := f"{path.relative_to(folder)}")
    }


def folders_of(folder: Path) -> set[str]:
    """The folders below a folder, as paths relative to it."""
    names = {f"{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_dir()}
    return {name for name in names if "replaced" not in Path(name).parts}


def digest(path: Path, folder: Path) -> str:
    """Digest of a file below `folder`, whose own path does not count."""
    if path.name in NOT_COMPARED:
        return "not compared"
    readers: dict[str, Callable[[Path], Any]] = {
        MANIFEST: _manifest,
        ARGUMENTS_JSON: lambda path: json.loads(path.read_text()) | {"overwrite": None},
        METRICS: lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    }
    if path.suffix == ".pth":
        return _digest_of_checkpoint(path)
    if path.name in readers:
        text = json.dumps(_without_times(readers[path.name](path)))
    elif path.suffix == ".json":
        text = path.read_text(encoding="utf-8")
    else:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(text.replace(str(folder), "FOLDER").encode()).hexdigest()


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """How the files of `after` differ from those of `before`, one line each."""
    missing = [f"{name} is missing" for name in before if name not in after]
    more = [f"{name} is left over" for name in after if name not in before]
    other = [f"{name} differs" for name in before if after.get(name, before[name]) != before[name]]
    return missing + more + other


def progress_of_checkpoint(path: Path) -> tuple[int, int]:
    """Epochs that are done, and batches of the next."""
    from resenc_plans.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    return checkpoint.current_epoch, int(checkpoint.extra[OWN_KEY]["iteration"])


def _manifest(path: Path) -> dict[str, Any]:
    """The last entry of each case; the order in which they were stored does not count."""
    entries = [json.loads(line) for line in path.read_text().splitlines() if line]
    return {entry["case"]: entry for entry in sorted(entries, key=lambda entry: entry["case"])}


def _digest_of_checkpoint(path: Path) -> str:
    from resenc_plans.runs.checkpoint import load_checkpoint

    seen = hashlib.sha256()
    _add(seen, _without_times(vars(load_checkpoint(path))))
    return seen.hexdigest()


def _add(seen: Any, value: Any) -> None:
    """Add a value of a checkpoint, bit for bit."""
    import torch

    if isinstance(value, dict):
        for key, part in value.items():
            seen.update(f"{key}:".encode())
            _add(seen, part)
    elif isinstance(value, list | tuple):
        for part in value:
            _add(seen, part)
    elif isinstance(value, torch.Tensor):
        seen.update(f"{value.dtype} {tuple(value.shape)}".encode())
        seen.update(
            value.contiguous().view(torch.uint8).numpy().tobytes()
            if value.dim()
            else repr(value.item()).encode()
        )
    else:
        seen.update(repr(value).encode())


def _without_times(value: Any) -> Any:
    if hasattr(value, "items"):
        return {key: _without_times(part) for key, part in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [_without_times(part) for part in value]
    return value
