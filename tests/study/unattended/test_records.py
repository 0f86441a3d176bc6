"""How far a piece is, by its record and its files."""

from pathlib import Path

import pytest

from resenc_plans.study.unattended.digests import FileDigest
from resenc_plans.study.unattended.records import PieceRecord, digests_below


def test_a_record_says_how_far_a_piece_is(tmp_path: Path) -> None:
    output = tmp_path / "a" / "result.txt"
    output.parent.mkdir()
    output.write_text("1")
    done = PieceRecord(status="done", key="k", outputs=digests_below(tmp_path, [output]))
    assert done.state(tmp_path, "k") == "done"
    assert done.state(tmp_path, "other") == "stale"
    output.write_text("2")
    assert done.state(tmp_path, "k") == "broken"
    output.write_text("1")
    assert done.state(tmp_path, "k") == "done", "only the time has changed"
    output.unlink()
    assert done.state(tmp_path, "k") == "broken"
    assert PieceRecord(status="begun", key="k").state(tmp_path, "k") == "begun"
    assert PieceRecord(status="begun", key="k").state(tmp_path, "other") == "stale"
    failed = PieceRecord(status="failed", key="k", reason="why")
    assert failed.state(tmp_path, "k") == "failed"
    assert failed.state(tmp_path, "other") == "missing"


def test_a_record_is_read_as_written_and_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "x" / "record.json"
    record = PieceRecord(status="done", key="k", seconds=1.5, taken_from="elsewhere")
    record.save(path)
    assert PieceRecord.load(path) == record
    path.write_text("{}")
    assert PieceRecord.load(path) is None
    assert PieceRecord.load(tmp_path / "absent.json") is None


@pytest.mark.parametrize("where", ["{outside}", "../outside.txt", "a/../../outside.txt", ""])
def test_nothing_outside_of_the_study_counts_as_its_file(where: str, tmp_path: Path) -> None:
    outside, root = tmp_path / "outside.txt", tmp_path / "study"
    outside.write_text("1")
    (root / "a").mkdir(parents=True)
    outputs = {where.format(outside=outside): FileDigest.of(outside)}
    record = PieceRecord(status="done", key="k", outputs=outputs)
    assert record.state(root, "k") == "broken"


def test_a_folder_of_a_study_may_be_a_link(tmp_path: Path) -> None:
    root, disk = tmp_path / "study", tmp_path / "disk"
    disk.mkdir()
    root.mkdir()
    (root / "runs").symlink_to(disk)
    (root / "runs" / "x.txt").write_text("1")
    outputs = digests_below(root, [root / "runs" / "x.txt"])
    assert PieceRecord(status="done", key="k", outputs=outputs).state(root, "k") == "done"
