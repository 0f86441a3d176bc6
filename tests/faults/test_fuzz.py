"""The fuzzer notices faults that are planted, and finds none in what this package reads."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.faults import planted, watch, workers
from tests.faults.damage import damage_json
from tests.faults.fuzz import Campaign, Run, table
from tests.faults.watch import (
    ACCEPTED,
    CHANGED,
    CRASH,
    EXECUTED,
    HANG,
    LONG,
    MEMORY,
    OUTSIDE,
    REFUSED,
    SLOW,
    TRACEBACK,
    Outcome,
    Watch,
)
from tests.faults.workers import Workers

SEED = 0
FILES = {
    "json": 500, "nifti": 80, "images": 60, "stores": 120, "checkpoints": 50, "npz": 150,
    "pickles": 150, "archives": 50, "commands": 15,
}  # fmt: skip
"""So many of each group take half a minute."""


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    folder = tmp_path / "examples"
    folder.mkdir()
    (folder / planted.FILE).write_text("{}")
    return folder


@pytest.fixture
def watched(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    for variable in ("HOME", "TMPDIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "MAX_SECONDS", 1.0)
    monkeypatch.setattr(watch, "MAX_BYTES", 2**25)
    return Watch(examples, tmp_path / "work")


@pytest.mark.parametrize(
    ("reader", "result"),
    [
        ("accepts", ACCEPTED),
        ("refuses", REFUSED),
        ("raises", TRACEBACK),
        ("sleeps", SLOW),
        ("takes memory", MEMORY),
        ("writes outside", OUTSIDE),
        ("leaves half", CHANGED),
        ("talks", LONG),
        ("imports", EXECUTED),
    ],
)
def test_a_planted_fault_is_noticed_and_the_folder_restored(
    watched: Watch, reader: str, result: str
) -> None:
    outcome = watched.see(reader, planted.KINDS[reader], Random(0))
    assert outcome.result == result
    assert outcome.is_well == (result in (ACCEPTED, REFUSED))
    assert outcome.file == (b"" if outcome.is_well else b"[]")
    assert {path.name for path in watched.root.iterdir()} == {planted.FILE}
    assert (watched.root / planted.FILE).read_text() == "{}"
    assert not (watched.root / planted.OUTSIDE).exists()


@pytest.mark.slow
def test_a_crash_and_a_hang_are_noticed_and_the_process_replaced(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SECONDS_UNTIL_HANGING", 2.0)
    one = Workers(1, examples, tmp_path, planted.__name__)
    try:
        results = [
            (number, outcome.result)
            for group in ("crashes", "hangs", "accepts")
            for number, outcome in one.outcomes(group, 0, iter([7]), lambda: False)
        ]
    finally:
        one.end()
    assert results == [(7, CRASH), (7, HANG), (7, ACCEPTED)]


def test_the_same_seed_makes_the_same_damage() -> None:
    content = b'{"a": [1, 2, {"b": "text"}], "c": 1.5}'
    damaged = [damage_json(Random(f"json 0 {number}"), content) for number in range(200)]
    assert damaged == [damage_json(Random(f"json 0 {number}"), content) for number in range(200)]
    assert len(set(damaged)) > 100


def test_counts_add_up_over_runs_and_a_fault_is_told_once_with_its_number() -> None:
    run = Run("json", "0123456", 3, 0)
    run.add(0, Outcome("plans", ACCEPTED))
    run.add(1, Outcome("plans", REFUSED))
    run.add(2, Outcome("plans", TRACEBACK, "KeyError at plans.py:1: 'a'"))
    head, _, row, total, fault = table([vars(run), vars(run)])
    assert head == "| kind | files | accepted | refused | faults |"
    assert row == "| plans | 6 | 2 | 2 | 2 |"
    assert total == "| all | 6 | 2 | 2 | 2 |"
    assert fault.startswith("FAULT, 2 times: plans: traceback: KeyError at plans.py:1")
    assert fault.endswith("again: json --seed 3 --only 2)")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    made = Campaign(tmp_path_factory.mktemp("fuzz"), workers=2)
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize("group", FILES)
def test_no_damaged_file_is_a_fault(campaign: Campaign, group: str) -> None:
    seen = list(campaign.run(group, SEED, iter(range(FILES[group])), lambda: False))
    assert len(seen) == FILES[group]
    assert [(number, outcome) for number, outcome in seen if not outcome.is_well] == []
