"""Commands about a dataset: verify, fingerprint."""

from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import (
    DatasetOption,
    Format,
    FormatOption,
    OutputOption,
    OverwriteOption,
    WorkersOption,
)
from resenc_plans.cli.render import note, print_json, print_table, progress, say, styled

if TYPE_CHECKING:
    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.fingerprint import Fingerprint

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def verify(
    dataset: DatasetOption = None,
    workers: WorkersOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Check a raw dataset: every file, header, label and voxel, all findings in one pass.

    Exit code 1 if there is an error. Example: resenc-plans verify -d 4
    """
    from resenc_plans.cli.scope import find_scope
    from resenc_plans.datasets.integrity import verify_dataset

    data = find_scope(dataset).dataset()
    with progress("Verifying", len(data.cases)) as on_case, _pool(workers) as executor:
        findings = verify_dataset(data, executor=executor, on_case=on_case)
    if format is Format.JSON:
        print_json([{key: _plain(value) for key, value in asdict(f).items()} for f in findings])
    elif findings:
        print_table(
            ["severity", "check", "case", "what"],
            [
                [styled(f.severity, _STYLES[f.severity]), f.id, f.case or "(dataset)", f.message]
                for f in findings
            ],
        )
    if format is Format.TABLE:
        counts = {s: sum(f.severity == s for f in findings) for s in _STYLES}
        summary = ", ".join(f"{count} {s}s" for s, count in counts.items() if count)
        say(f"{data.name}: {len(data.cases)} cases, {summary or 'no findings'}.")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def fingerprint(
    dataset: DatasetOption = None,
    workers: WorkersOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Extract the dataset's fingerprint: shapes, spacings, intensities, as nnU-Net does.

    Example: resenc-plans fingerprint -d 4
    """
    from resenc_plans.cli.scope import find_scope

    scope = find_scope(dataset)
    target = output or scope.fingerprint
    if target.exists() and not overwrite:
        say(f"{target} exists already; --overwrite extracts it anew.")
        return
    found = extract_fingerprint(scope, workers)
    target.parent.mkdir(parents=True, exist_ok=True)
    found.save(target)
    say(f"Wrote {target} ({len(found.spacings)} cases).")


def demo(
    folder: Annotated[
        Path, typer.Argument(help="A new folder, such as Dataset900_Phantom.", show_default=False)
    ],
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 8,
) -> None:
    """Write a small made-up dataset, to try every command without data of one's own.

    Example: resenc-plans demo Dataset900_Phantom
    """
    from resenc_plans.datasets.phantom import write_phantom

    write_phantom(folder, cases)
    say(f"Wrote {cases} cases to {folder}.")


def extract_fingerprint(scope: "Scope", workers: int | None = None) -> "Fingerprint":
    """The fingerprint of the scope's dataset, with a progress bar."""
    from resenc_plans.datasets.fingerprint import Fingerprint

    data = scope.dataset()
    if not data.cases:
        note(f"{data.name}: no cases in {data.folder}.")
    bar = progress("Extracting the fingerprint", len(data.cases))
    with bar as on_case, _pool(workers) as executor:
        return Fingerprint.extract(data, executor=executor, on_case=on_case)


def _pool(workers: int | None) -> AbstractContextManager[Executor | None]:
    """Threads as wanted (reading and counting release the lock); None lets the library choose."""
    if workers is None:
        return nullcontext()
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else str(value)


COMMANDS = (verify, fingerprint, demo)
