"""The file in which a campaign's counts add up: one JSON object per line."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def commit() -> str:
    """The commit that is checked out; with -dirty where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def read_lines(totals: Path) -> list[dict[str, Any]]:
    """All lines of a file of totals, which need not exist."""
    lines = totals.read_text(encoding="utf-8").splitlines() if totals.is_file() else []
    return [json.loads(line) for line in lines]


def append_line(totals: Path, line: dict[str, Any]) -> None:
    """Add a line; the folder is made if need be."""
    totals.parent.mkdir(parents=True, exist_ok=True)
    with totals.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A table as lines of Markdown."""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
