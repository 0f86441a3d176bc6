"""The command fingerprint: extract what planning needs to know of a dataset."""

import shlex
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from resenc_plans.cli.options import (
    DatasetOption,
    OverwriteOption,
    WorkersOption,
    output_option,
)
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import note, print_commands, say
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.fingerprint import Fingerprint


def fingerprint(
    dataset: DatasetOption = None,
    workers: WorkersOption = None,
    output: Annotated[
        Path | None,
        output_option(
            "FILE", "Fingerprint to write. Default: dataset_fingerprint.json where nnU-Net looks."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Extract the dataset's fingerprint: shapes, spacings, intensities, as nnU-Net does.

    Example: resenc-plans fingerprint -d 4
    """
    from resenc_plans.cli.scope import find_scope
    from resenc_plans.files import make_folder

    scope = find_scope(dataset)
    target = output or scope.fingerprint
    if target.exists() and not overwrite:
        say(f"{target} exists already; --overwrite replaces it.")
        return
    extracted = extract_fingerprint(scope, workers)
    make_folder(target.parent)
    extracted.save(target)
    say(f"Wrote {target} ({counted(len(extracted.spacings), 'case')}).")


def extract_fingerprint(scope: "Scope", workers: int | None = None) -> "Fingerprint":
    """The fingerprint of the scope's dataset, with a progress bar, and what was found on the way.

    What many cases have in common is said once; `verify` lists every finding.
    """
    from resenc_plans.cli.scope import dataset_option
    from resenc_plans.datasets.finding import Finding, by_rule
    from resenc_plans.datasets.fingerprint import Fingerprint

    data = scope.dataset()
    findings: list[Finding] = []
    bar = case_progress("Extracting the fingerprint", len(data.cases))
    with bar as on_case, case_pool(workers) as executor:
        fingerprint = Fingerprint.extract(data, executor, on_case, findings.append)
    for line in by_rule(findings, len(data.cases)):
        note(line)
    if any(finding.severity != "note" for finding in findings):
        note(f"{data.name} has faults, but a fingerprint. To list them all:")
        command = ["resenc-plans", "verify", *dataset_option(data.folder)]
        print_commands(shlex.join(command), error=True)
    return fingerprint


def case_pool(workers: int | None) -> AbstractContextManager[Executor | None]:
    """`workers` threads (reading and counting release the lock); None lets the library choose."""
    if workers is None:
        return nullcontext()
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers)
