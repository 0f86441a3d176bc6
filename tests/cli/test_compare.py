"""The command compare."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.study.made_results import dice_like, write_summary

Run = Callable[..., Done]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write_summary(tmp_path / "small", dice_like(40)),
        write_summary(tmp_path / "large", dice_like(40, shift=0.03)),
    )


def test_the_table_has_a_row_per_method_and_per_pair(run: Run, pair: tuple[Path, Path]) -> None:
    done = run("compare", *pair, "--draws", "200", "--margin", "0.01")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert done.code == 0
    assert [row[0] for row in rows[1:4]] == ["method", "small", "large"]
    assert rows[6][0] == "small - large"
    assert rows[6][-1] == "inferior"
    assert "C202 each of the 2 methods was trained once" in done.err


def test_json_stands_alone_in_full_precision(run: Run, pair: tuple[Path, Path]) -> None:
    done = run("compare", *pair, "--draws", "200", "--format", "json")
    document = json.loads(done.out)
    [dataset] = document["datasets"]
    mean = dataset["metrics"][0]["methods"][0]["mean"]
    assert mean == pytest.approx(dice_like(40).mean(), abs=1e-3)
    assert len(str(dataset["metrics"][0]["pairs"][0]["p"])) > 10


def test_methods_are_named_and_restricted_to_metrics(run: Run, pair: tuple[Path, Path]) -> None:
    done = run("compare", f"S={pair[0]}", f"L={pair[1]}", "--metrics", "iou", "--format", "json")
    [dataset] = json.loads(done.out)["datasets"]
    assert [method["name"] for method in dataset["methods"]] == ["S", "L"]
    assert [metric["metric"] for metric in dataset["metrics"]] == ["IoU"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "at least two"),
        (("nowhere",), "nowhere: no such file or folder"),
        (("{large}", "--level", "95"), "--level 95"),
        (("{small}/summary.json",), "summary.json: is named twice"),
        (("{large}", "--metrics", "HD95"), "HD95: not every result"),
        (
            ("{large}", "--patients", "x"),
            "--patients x: is no file, and as a pattern it names no patient for 40 of 40 cases",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    run: Run, pair: tuple[Path, Path], arguments: tuple[str, ...], message: str
) -> None:
    places = dict(zip(("small", "large"), pair, strict=True))
    done = run("compare", pair[0], *(part.format(**places) for part in arguments))
    assert done.code == 2
    assert message in done.err


def test_findings_of_several_datasets_name_theirs(run: Run, tmp_path: Path) -> None:
    paths = [
        write_summary(tmp_path / dataset / name, dice_like(12, shift=shift))
        for dataset in ("Dataset001_A", "Dataset002_B")
        for name, shift in (("small", 0.0), ("large", 0.03))
    ]
    done = run("compare", *paths, "--draws", "200")
    for name in ("Dataset001_A", "Dataset002_B"):
        assert f"C102 {name}: 12 cases: the intervals of so few may be too narrow." in done.err
