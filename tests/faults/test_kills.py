"""The campaign of kills works: a few moments of each kind that takes seconds only."""

from pathlib import Path

import pytest

from tests.faults.kills import Campaign, Course, Kill, table
from tests.faults.victims import Toys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    made = Toys(tmp_path_factory.mktemp("kills") / "toys", cases=8)
    made.make()
    return made


@pytest.mark.parametrize(("kind", "kills"), [("preprocess", 2), ("predict", 1), ("train", 1)])
def test_a_killed_command_leaves_nothing_and_its_rerun_the_same(
    toys: Toys, tmp_path: Path, kind: str, kills: int
) -> None:
    done = list(Campaign(kind, toys, tmp_path).run(kills, seed=1))
    assert len(done) == kills
    assert [kill for kill in done if not kill.is_well] == []


def test_a_command_is_placed_in_its_course_by_milestones_and_between_them_by_the_clock() -> None:
    course = Course(seconds=(2.0, 0.0, 4.0), weights=(1.0, 1.0, 2.0))
    assert course.share(0, 1.0) == 0.125
    assert course.share(0, 9.0) == 0.25
    assert course.share(1, 0.0) == 0.5
    assert course.share(2, 2.0) == 0.75
    assert course.share(3, 4.0) == 1.0


def test_what_is_wrong_is_reported() -> None:
    kill = Kill(
        kind="train",
        commit="0123456",
        seed=0,
        number=0,
        parts=1,
        moment=0.5,
        target="group",
        phase="first epoch",
        partial=True,
        seconds_to_end=0.1,
        left_over=0,
        differences=["results/metrics.jsonl differs"],
        failure=None,
    )
    head, _, row, phases, wrong = table([kill])
    assert head.startswith("| command |")
    assert row == "| train | group 1 | 1 | 1 | 0 | 0 | 0.1 s |"
    assert phases == "train: first epoch 1"
    assert "metrics.jsonl differs" in wrong
