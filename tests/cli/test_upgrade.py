from collections.abc import Callable
from pathlib import Path

from resenc_plans import Plans
from tests.cli.conftest import NAME, Done, document
from tests.plans.documents import OLD_CONFIGURATION
from tests.plans.documents import document as plans_document


def test_upgrade_rewrites_and_then_has_nothing_to_do(run: Callable[..., Done], here: Path) -> None:
    Plans.from_dict(plans_document(old=OLD_CONFIGURATION)).save(here / f"{NAME}.json")
    assert "became architecture" in run("upgrade").out
    assert "UNet_class_name" not in document(here / f"{NAME}.json")["configurations"]["old"]
    assert "nothing to upgrade" in run("upgrade").out


def test_upgrading_into_a_file_that_exists_is_refused(run: Callable[..., Done], here: Path) -> None:
    Plans.from_dict(plans_document(old=OLD_CONFIGURATION)).save(here / f"{NAME}.json")
    (here / "other.json").write_text("keep")
    assert run("upgrade", "-o", "other.json").code == 2
    assert (here / "other.json").read_text() == "keep"
