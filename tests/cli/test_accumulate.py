from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done, document
from tests.evaluation.trained_folders import write_model, write_references


def test_the_folds_of_a_model_are_collected_and_evaluated(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "plans.json").write_text('{"configurations": {}}')
    write_references(tmp_path / "ref", ["a", "b"])
    model = tmp_path / "results" / "Dataset009_Small" / "nnUNetTrainer__nnUNetPlans__2d"
    write_model(
        model, tmp_path / "plans.json", tmp_path / "ref", (("a",), ("b",)),
        noise=0.4, seed=1, dataset_name="Dataset009_Small",
    )  # fmt: skip
    options = ("-d", "9", "-c", "2d", "--results", tmp_path / "results", "-r", tmp_path / "ref")

    done = run("accumulate", *options)
    assert done.code == 0
    assert "2 cases of folds 0, 1" in done.out
    merged = model / "crossval_results_folds_0_1"
    summary = document(merged / "summary.json")
    assert len(summary["metric_per_case"]) == 2

    elsewhere = tmp_path / "new" / "merged"
    assert run("accumulate", *options, "-o", elsewhere).code == 0
    assert {path.name for path in elsewhere.iterdir()} == {path.name for path in merged.iterdir()}
    done = run("accumulate", *options, "-o", elsewhere)
    assert (done.code, "not an empty folder" in done.err) == (2, True)
    assert run("accumulate", *options, "-f", "0,4").code == 2
