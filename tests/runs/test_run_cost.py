from dataclasses import replace
from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.runs.run_cost import RunCost, Session, load_cost, save_cost

ONE = Session(
    begun=0.0,
    ended=3600.0,
    first_epoch=0,
    epochs_done=10,
    device="cuda:0",
    device_name="NVIDIA H100 80GB HBM3",
    ranks=2,
    torch="2.11.0+cu130",
    allocated_bytes=5,
    reserved_bytes=6,
    process_bytes=None,
    card_bytes=8,
    host_bytes=9,
    energy_joules=1.8e6,
)
TWO = replace(ONE, begun=9000.0, ended=10800.0, ranks=1, allocated_bytes=7, process_bytes=4)


def test_a_run_takes_what_its_sessions_take_together() -> None:
    cost = RunCost((ONE, TWO))
    assert (cost.hours, cost.gpu_hours) == (1.5, 2.5)
    assert cost.energy_kwh == 1.0
    assert (cost.peak("allocated"), cost.peak("process")) == (7, 4)


def test_energy_is_not_known_where_one_session_does_not_know_it() -> None:
    assert RunCost((ONE, replace(TWO, energy_joules=None))).energy_kwh is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_cost(tmp_path / "cost.json", (ONE, TWO))
    assert load_cost(tmp_path / "cost.json") == RunCost((ONE, TWO))


@pytest.mark.parametrize("text", ["{}", "[1]", '{"sessions": [{"begun": 1}]}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cost.json").write_text(text)
    with pytest.raises(FileError, match="is not the cost of a training"):
        load_cost(tmp_path / "cost.json")
