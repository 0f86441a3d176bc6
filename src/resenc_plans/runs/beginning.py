"""What must be so before a fold is trained: nothing is replaced unasked, no model is mixed."""

from collections.abc import Iterator

from resenc_plans.errors import TrainingError
from resenc_plans.folders import FINAL_CHECKPOINT
from resenc_plans.reprs import listed
from resenc_plans.runs.folds import MAX_NAMES, FoldCases, case_changes, left_out_of_one
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_folder import Checkpoints, RunFolder
from resenc_plans.runs.run_record import RunRecord, differences


def refuse_to_replace(folder: RunFolder) -> None:
    """Refuse to begin a fold anew where a training has left a checkpoint.

    Raises
    ------
    TrainingError
        It has. The message says how to continue it, and how to begin anew.
    """
    if not folder.checkpoints():
        return
    is_trained = folder.checkpoint(FINAL_CHECKPOINT).is_file()
    raise TrainingError(
        f"{folder.path}: {'is trained' if is_trained else 'holds an unfinished training'}. "
        "Continue it (`resume=`), or begin anew (`overwrite=`), which moves what is there to "
        f"{folder.replaced}. A method of your own goes to a folder of its own (`name=`)."
    )


def refuse_if_gone_on(folder: RunFolder, checkpoints: Checkpoints) -> None:
    """Refuse to resume a fold whose checkpoints are not those that it had when one was loaded.

    To be called under the lock, for which another process may have trained in the meantime.

    Raises
    ------
    TrainingError
        They are others.
    """
    if folder.checkpoints() != checkpoints:
        raise TrainingError(
            f"{folder.path}: another process has trained it since its checkpoint was loaded. "
            "Resume it again."
        )


def refuse_other_settings(
    folder: RunFolder, record: RunRecord, cases: FoldCases | None = None
) -> None:
    """Refuse a fold that would be trained otherwise than the model's other folds.

    `cases` are those of the fold; None where its batches are not made from stored cases. Folds
    without a record, such as nnU-Net's, are not compared.

    Raises
    ------
    TrainingError
        It differs; the message lists how.
    FileError
        The record, or the list of cases, of another fold is damaged.
    """
    model = ModelFolder(folder.model)
    for fold in model.folds():
        other = model.run(fold)
        before = RunRecord.load(other.path)
        if fold == str(folder.fold) or before is None:
            continue
        found = [*differences(before, record), *_cases_of_one(FoldCases.load(other.path), cases)]
        if found:
            raise TrainingError(
                f"{other.path}: was trained otherwise, so fold {folder.fold} would be of another "
                f"model: {'; '.join(found)}. Train it alike, give it a folder of its own "
                "(`name=`), or mix them knowingly (`allow_differences=`)."
            )


def changes_on_the_way(
    folder: RunFolder, record: RunRecord, cases: FoldCases | None, *, allow_differences: bool
) -> tuple[str, ...]:
    """How a run that goes on differs from what the fold was trained with so far, as clauses.

    `cases` is as in `refuse_other_settings`. The number of epochs may differ, since a run may be
    prolonged. What the fold has no record of, as nnU-Net's have none, is not compared.

    Raises
    ------
    TrainingError
        It differs, and that is not allowed; the message lists how.
    FileError
        The fold's record, or its list of cases, is damaged.
    """
    before, cases_before = RunRecord.load(folder.path), FoldCases.load(folder.path)
    found: tuple[str, ...] = ()
    if before is not None:
        epochs = record.flat_settings["epochs"]
        found += differences(before.with_epochs(epochs), record.after(before, 0, ()))
    if cases_before is not None and cases is not None:
        found += tuple(case_changes(cases_before, cases))
    if found and not allow_differences:
        raise TrainingError(
            f"{folder.path}: has been trained otherwise so far: {'; '.join(found)}. Resume it as "
            "it began, begin anew (`overwrite=`), or change it knowingly (`allow_differences=`)."
        )
    return found


def _cases_of_one(before: FoldCases | None, now: FoldCases | None) -> Iterator[str]:
    if before is not None and now is not None:
        names = left_out_of_one(before, now)
        if names:
            yield f"cases were missing in one of the folds: {listed(names, MAX_NAMES)}"
