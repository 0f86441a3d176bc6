from pathlib import Path

from resenc_plans import Plans
from resenc_plans.plans.checks.plans_file import check_plans_file
from resenc_plans.plans.checks.rules import RULES
from resenc_plans.plans.checks.sarif import to_sarif
from tests.plans.documents import document


def test_each_finding_names_its_rule_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "nnUNetResEncUNetMPlans.json"
    Plans.from_dict(document(bs={"inherits_from": "3d_fullres", "batchsize": 16})).save(path)
    log = to_sarif({path: check_plans_file(path)})
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("P101", "warning")
    assert result["message"]["text"].startswith("bs: batchsize is unknown")
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == path.as_posix()
    line = path.read_text().splitlines()[place["region"]["startLine"] - 1]
    assert "batchsize" in line


def test_a_finding_about_a_file_that_is_missing_is_on_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "nothing.json"
    (result,) = to_sarif({path: check_plans_file(path)})["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def test_every_rule_is_described() -> None:
    described = {rule["id"] for rule in to_sarif({})["runs"][0]["tool"]["driver"]["rules"]}
    assert described == {rule.id for rule in RULES} | {"S000", "S001", "S002"}
