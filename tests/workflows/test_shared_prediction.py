"""Held-out cases that processes share are predicted as one would predict them."""

import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from resenc_plans.errors import TrainingError
from resenc_plans.evaluation.validation import validate_fold
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.training.ranks import Ranks, leave_ranks
from resenc_plans.workflows.shared_prediction import SharedPredictor, predict_share
from tests.evaluation.label_folders import write_random_folder

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class Copies:
    """Copies predictions, notes who did, and fails for some cases."""

    def __init__(self, rank: int, folder: Path) -> None:
        self.rank, self.folder = rank, folder

    def predict_cases(
        self, cases: Sequence[str], target: Path, /, *, probabilities: bool = False
    ) -> tuple[CaseProblem, ...]:
        del probabilities
        for case in cases:
            name = f"{case}.nii.gz"
            (self.folder.parent / f"{case} {self.rank}").touch()
            if not case.endswith("bad"):
                shutil.copy(self.folder / "pred" / name, target / name)
        return tuple(CaseProblem(case, "too dark") for case in cases if case.endswith("bad"))


def second_rank(folder: str, how: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=1, world_size=2)
    root = Path(folder)
    model, copies = root / "model", Copies(1, root / "folder")

    def predict(cases: Sequence[str]) -> Sequence[CaseProblem]:
        if how == "dies":
            os._exit(9)
        time.sleep(0.2)
        return copies.predict_cases(cases, model / "fold_0" / "validation")

    checkpoint = model / ("none" if how == "sees nothing" else "dataset.json")
    predict_share(Ranks(1, 2, CPU), checkpoint, predict)
    leave_ranks()


@pytest.fixture
def first(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ranks]:
    """This process as the first of two; the second one does as the test's parameter says."""
    how = request.node.callspec.params["how"]
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=second_rank, args=(str(tmp_path), how))
    other.start()
    dist.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=0, world_size=2)
    yield Ranks(0, 2, CPU)
    other.join(60)
    other.kill()
    assert other.exitcode == (9 if how == "dies" else 0)
    leave_ranks()


@pytest.mark.parametrize("how", ["helps", "sees nothing", "dies"])
def test_cases_are_shared_and_scored_as_by_one_process(
    tmp_path: Path, how: str, first: Ranks
) -> None:
    cases = ("a", "b", "c", "d bad", "e bad")
    folder, results = tmp_path / "folder", []
    write_random_folder(folder, 0, cases=len(cases))
    for file in folder.glob("*/*.nii.gz"):
        number = int(file.name[len("case_")])
        file.rename(file.with_name(f"{cases[number]}.nii.gz"))
    for name in ("alone", "model"):
        (tmp_path / name / "fold_0" / "validation").mkdir(parents=True)
        shutil.copy(folder / "dataset.json", tmp_path / name)
    for name, predictor in (
        ("alone", Copies(-1, folder)),
        ("model", SharedPredictor(Copies(0, folder), first)),
    ):
        (tmp_path / name / "fold_0" / "validation" / "a.nii.gz").write_text("of another time")
        if how == "dies" and name == "model":
            with pytest.raises(TrainingError, match=r"^Rank 1 ended before .*: b, d bad\. "):
                validate_fold(tmp_path / name, 0, cases, folder / "ref", predictor)
            return
        results.append(validate_fold(tmp_path / name, 0, cases, folder / "ref", predictor))
    alone, together = results
    assert together.problems == alone.problems
    assert alone.summary is not None
    assert together.summary is not None
    assert together.summary.means() == alone.summary.means()
    written = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("fold_0/validation/*.gz")}
        for name in ("alone", "model")
    ]
    assert written[0] == written[1]
    by_second = {path.name[:-2] for path in tmp_path.glob("* 1")}
    assert by_second == ({"b", "d bad"} if how == "helps" else set())
