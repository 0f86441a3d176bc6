"""The pieces of a study, what each needs, and its jobs."""

from typing import Any

from resenc_plans.study.unattended.graph import Piece, Run, StudyGraph
from resenc_plans.study.unattended.study_file import StudyFile
from tests.study.unattended.made_study import study_document


def graph(**parts: Any) -> StudyGraph:
    return StudyGraph.of(StudyFile.model_validate(study_document(**parts)), ("A", "B"))


def test_pieces_come_after_what_they_need() -> None:
    made = graph(folds=[0, 1], seeds=[0, 1])
    order = list(made.needs)
    assert len(order) == 2 * (1 + 2 * 2 + 2 * 2 * 2 * 3)
    for piece, needs in made.needs.items():
        assert all(order.index(one) < order.index(piece) for one in needs)
    run = Run("A", "original", 1, 0)
    assert made.needs[Piece("evaluation", run)] == (Piece("prediction", run),)


def test_a_job_prepares_a_dataset_and_one_does_each_run() -> None:
    made = graph(folds=[0, 1])
    names = [job.name for job in made.jobs]
    assert names[:2] == ["prepare/A", "prepare/B"]
    assert names[2:5] == [
        "run/A/resenc-m/seed_0/fold_0", "run/A/original/seed_0/fold_0",
        "run/A/resenc-m/seed_0/fold_1",
    ]  # fmt: skip
    assert [piece.kind for piece in made.jobs[2].pieces] == ["training", "prediction", "evaluation"]
    assert made.jobs[2].needs == ("prepare/A",)
    assert len(made.runs) == 8


def test_predictions_made_elsewhere_are_only_evaluated() -> None:
    methods = {"a": {"predictions": "{dataset}"}, "b": {"predictions": "other/{dataset}"}}
    made = graph(methods=methods)
    assert [job.name for job in made.jobs] == ["run/A/a", "run/A/b", "run/B/a", "run/B/b"]
    assert all(needs == () for needs in made.needs.values())
