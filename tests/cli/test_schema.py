import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done


@pytest.mark.parametrize("name", ["plans", "dataset", "fingerprint", "results", "study"])
def test_schemas_are_printed(run: Callable[..., Done], name: str) -> None:
    assert json.loads(run("schema", name).out)["title"]


def test_a_schema_is_written_alone_where_it_is_named(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    run("schema", "plans", "-o", tmp_path / "one")
    run("schema", "-o", tmp_path / "all")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["plans.schema.json"]
    assert len(list((tmp_path / "all").iterdir())) == 5


def test_an_unknown_schema_lists_the_known(run: Callable[..., Done]) -> None:
    done = run("schema", "plan")
    assert done.code == 2
    assert "plans, dataset, fingerprint" in done.err
