"""Writing planned plans beside a dataset: what is kept, what would be lost, and preprocessing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.cli.render import note, say
from resenc_plans.errors import PlanningError

if TYPE_CHECKING:
    from resenc_plans.cli.scope import Scope
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.datasets.fingerprint import Fingerprint
    from resenc_plans.execution.cases import CaseProblem
    from resenc_plans.plans.plans import Plans


@dataclass(frozen=True)
class PlansWriting:
    """Where plans of a dataset go, and what may happen to files that exist."""

    scope: "Scope"
    dataset: "Dataset"
    fingerprint: "Fingerprint"
    output: Path | None
    overwrite: bool
    dry_run: bool
    preprocess: bool
    workers: int | None

    def write(self, plans: "Plans", show: Callable[[Path], None]) -> "list[CaseProblem]":
        """Write plans, or print what would be written; `show(path)` prints what they are.

        Returns the cases that could not be preprocessed, where that is asked for.

        Raises
        ------
        PlanningError
            Without `overwrite`: values in the file would be lost.
        """
        from resenc_plans.files import make_folder
        from resenc_plans.planning.replanning import copy_dataset_json, replan, save_plans

        target = self._target(plans.name)
        replanning = replan(target, plans)
        is_written = not self.dry_run and (self.overwrite or replanning.harmless)
        is_new = not self.scope.fingerprint.is_file()
        if is_written:
            make_folder(self.scope.preprocessed)
            if is_new:
                self.fingerprint.save(self.scope.fingerprint)
            if self.scope.raw is not None:
                copy_dataset_json(self.scope.raw, self.scope.preprocessed)
            save_plans(plans, target, overwrite=self.overwrite)
        show(target)
        if replanning.retained:
            say(f"Kept from {target.name}: {', '.join(replanning.retained)}.")
        if not (is_written or self.dry_run):
            replanning.refuse_losses()
        if not replanning.harmless:
            note(replanning.describe())
            if not self.overwrite:
                note("Without --overwrite this would be refused.")
        if self.dry_run:
            say(f"Would write {target} (--dry-run).")
            return []
        if is_new:
            say(f"Wrote {self.scope.fingerprint}.")
        say(f"Wrote {target}.")
        if self.preprocess:
            from resenc_plans.cli.commands.preprocess import preprocess_cases
            from resenc_plans.plans.plans import Plans

            planned = list(plans.configurations)
            written = Plans.load(target)
            return preprocess_cases(
                self.scope, self.dataset, written, planned, workers=self.workers
            )
        return []

    def _target(self, name: str) -> Path:
        from resenc_plans.files import inside, part_of_path

        output = self.output
        folder = self.scope.preprocessed if output is None else output
        own = folder / part_of_path(name, "plans_name", ending=".json")
        if output is None:
            return inside(folder, own)
        if output.is_dir() or not output.suffix:
            return own
        if output.suffix != ".json":
            raise PlanningError(
                f"--output {output}: plans are a file that ends in .json, or a folder."
            )
        return output
