from resenc_plans import Plans
from resenc_plans.plans.diff import ABSENT, Cost
from tests.plans.documents import document


def test_equal_plans_do_not_differ() -> None:
    plan = Plans.from_dict(document())
    assert not plan.diff(Plans.from_dict(document()))
    assert plan.diff(plan).cost is Cost.NOTHING


def test_a_child_shows_what_it_gets_from_a_changed_parent() -> None:
    before = document(bs16={"inherits_from": "3d_fullres", "batch_size": 16})
    after = document(bs16={"inherits_from": "3d_fullres", "batch_size": 16})
    after["configurations"]["3d_fullres"]["patch_size"] = [64, 64, 64]
    resolved = Plans.from_dict(before).diff(Plans.from_dict(after))
    raw = Plans.from_dict(before).diff(Plans.from_dict(after), resolved=False)
    assert [(c.configuration, c.key) for c in resolved.changes] == [
        ("3d_fullres", "patch_size"),
        ("bs16", "patch_size"),
    ]
    assert [c.configuration for c in raw.changes] == ["3d_fullres"]


def test_each_difference_says_what_it_costs() -> None:
    before, after = document(), document(extra={"inherits_from": "3d_fullres"})
    config = after["configurations"]["3d_fullres"]
    config["spacing"] = [2.0, 1.0, 1.0]
    config["batch_size"] = 4
    config["resampling_fn_probabilities_kwargs"]["order"] = 0
    config["architecture"]["arch_kwargs"]["conv_bias"] = False
    after["transpose_forward"] = [1, 0, 2]
    found = Plans.from_dict(before).diff(Plans.from_dict(after))
    assert {c.key: str(c.cost) for c in found.changes} == {
        "transpose_forward": "preprocess again",
        "batch_size": "train again",
        "spacing": "preprocess again",
        "resampling_fn_probabilities_kwargs.order": "nothing",
        "architecture.arch_kwargs.conv_bias": "train again",
        "": "nothing",
    }
    assert found.cost is Cost.PREPROCESS
    assert found.changes[-1].before is ABSENT


def test_a_difference_as_json_leaves_out_what_is_absent() -> None:
    before, after = document(), document()
    del after["configurations"]["3d_fullres"]["batch_dice"]
    row = Plans.from_dict(before).diff(Plans.from_dict(after)).to_dict()["changes"][0]
    assert row == {
        "configuration": "3d_fullres",
        "key": "batch_dice",
        "before": False,
        "cost": "train again",
    }


def test_not_a_number_equals_itself_and_integers_equal_floats() -> None:
    before, after = document(), document()
    before["x"], after["x"] = float("nan"), float("nan")
    before["y"], after["y"] = [1, 2.0], [1.0, 2]
    before["z"], after["z"] = True, 1
    found = Plans.from_dict(before).diff(Plans.from_dict(after))
    assert [c.key for c in found.changes] == ["z"]
