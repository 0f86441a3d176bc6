"""What an edited study makes stale, and what stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.study.unattended.graph import Piece, Run
from resenc_plans.study.unattended.opened import OpenedStudy
from tests.study.unattended.made_study import NAME, SHORT, changes, study_document, write_study


def keys(path: Path) -> dict[Piece, str]:
    """The keys of the study's pieces."""
    opened = OpenedStudy.open(path)
    return {piece: opened.keys[piece] for piece in opened.graph.needs}


def method(name: str, **parts: Any) -> dict[str, Any]:
    """The methods of the study, with one changed."""
    methods = study_document()["methods"]
    return {"methods": methods | {name: methods[name] | parts}}


EDITS: dict[str, tuple[dict[str, Any], Callable[[str, str], bool]]] = {
    "another method": (
        {"methods": study_document()["methods"] | {"more": {"preset": "L"}}}, lambda *_: False,
    ),
    "a fold more": ({"folds": [0, 1]}, lambda *_: False),
    "the statistics": ({"bootstrap": {"draws": 500}, "margin": 0.1}, lambda *_: False),
    "metrics": ({"metrics": ["Dice", "clDice"]}, lambda kind, _: kind == "evaluation"),
    "workers": ({"training": SHORT | {"workers": 1}}, lambda *_: False),
    "epochs": (
        {"training": SHORT | {"epochs": 2}},
        lambda kind, _: kind in ("training", "prediction", "evaluation"),
    ),
    "precision": (
        {"training": SHORT | {"precision": "bf16"}},
        lambda kind, _: kind in ("training", "prediction", "evaluation"),
    ),
    "a method's settings": (
        method("original", settings={"learning_rate": 0.1}),
        lambda kind, name: name == "original" and kind in ("training", "prediction", "evaluation"),
    ),
    "a method's network": (
        method("original", changes=changes(residual=False, features=8)),
        lambda kind, name: name == "original" and kind != "fingerprint",
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_makes_stale_what_it_decides_and_nothing_else(edit: str, tmp_path: Path) -> None:
    parts, is_stale = EDITS[edit]
    before = keys(write_study(tmp_path))
    after = keys(write_study(tmp_path, **parts))
    for piece, key in before.items():
        assert (after[piece] != key) == is_stale(piece.kind, piece.run.method), piece


def test_another_image_makes_all_of_its_dataset_stale(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    before = keys(path)
    image = next((tmp_path / NAME / "imagesTr").iterdir())
    image.write_bytes(image.read_bytes() + b"\0")
    after = keys(path)
    assert all(after[one] != before[one] for one in before)


def test_each_seed_and_fold_has_its_own_key(tmp_path: Path) -> None:
    opened = OpenedStudy.open(write_study(tmp_path, seeds=[0, 1], folds=[0, 1]))
    trainings = [one for one in opened.graph.needs if one.kind == "training"]
    assert len({opened.keys[one] for one in trainings}) == len(trainings) == 8
    assert Piece("training", Run(NAME, "original", 1, 1)) in trainings
