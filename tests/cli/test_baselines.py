import json
from collections.abc import Callable

import pytest

from resenc_plans.planning.baselines.registry import baselines
from tests.cli.conftest import Done


def test_the_table_has_every_baseline_and_says_which_are_there(run: Callable[..., Done]) -> None:
    done = run("baselines")
    assert done.code == 0
    rows = {line.split("\t")[0]: line.split("\t") for line in done.out.splitlines()}
    assert {baseline.name for baseline in baselines()} <= rows.keys()
    assert rows["resenc-l"][1:] == ["87.56", "22.7", "35", "Apache-2.0", "exact", "ready"]
    assert rows["cotr"][4:] == ["GPL-3.0", "re-implemented", "ready"]
    assert rows["mednext-s-k3"][1:4] == ["", "", ""]


def test_the_json_is_a_list_of_objects_with_names(run: Callable[..., Done]) -> None:
    rows = json.loads(run("baselines", "--format", "json").out)
    assert [row["name"] for row in rows] == [baseline.name for baseline in baselines()]
    by_name = {row["name"]: row for row in rows}
    assert by_name["stu-net-b"]["published"]["vram_gb"] == 8.8
    assert by_name["nnformer-synapse"]["published"] is None
    assert by_name["mednext-m-k3"]["training"]["optimizer"]["eps"] == 1e-4
    assert by_name["u-mamba-enc"]["missing"] is None


def test_one_baseline_is_shown_with_sources_and_what_is_not_known(run: Callable[..., Done]) -> None:
    done = run("baselines", "swin-unetr")
    text = " ".join(done.out.split())
    for words in (
        "62,187,296 (1 channel, 14 classes)",
        "spacing: 1x1x1 mm; patch: 128x128x128; batch: 2",
        "learning_rate 0.0001; optimizer AdamW (betas 0.9, 0.999, eps 0.0001",
        "AMOS 83.81",
        "How ours differs: - Preprocessing is nnU-Net v2's",
        "Not known: - The study's trainer is not published",
        "nnUNetTrainerV2_SwinUNETR.py",
    ):
        assert words in text
    one = json.loads(run("baselines", "swin-unetr", "--format", "json").out)
    assert one["name"] == "swin-unetr"


@pytest.mark.parametrize(
    ("name", "words"), [("swinunet", "swin-unetr"), ("mednext", "mednext-l-k3"), ("x", "nnu-net")]
)
def test_an_unknown_baseline_gets_the_nearest_names(
    run: Callable[..., Done], name: str, words: str
) -> None:
    done = run("baselines", name)
    assert done.code == 2
    assert words in done.err
