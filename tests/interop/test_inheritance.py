"""Inheritance and older formats: what nnU-Net's PlansManager resolves, we resolve."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from resenc_plans import Plans, ResencPlansError
from resenc_plans.errors import InheritanceError
from resenc_plans.plans.inheritance import inherit
from tests.plans.documents import OLD_CONFIGURATION, document, inheritance_trees, plans_files

RESOLVE_ALL = """
import json, sys, warnings
from copy import deepcopy
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
warnings.simplefilter("ignore")
answers = []
for document in json.load(open(sys.argv[1])):
    manager = PlansManager(document) if "plans_name" in document else None
    answer = {}
    for name in document["configurations"]:
        try:
            if manager is None:
                manager = PlansManager(document)
            answer[name] = deepcopy(manager.get_configuration(name).configuration)
        except Exception as error:
            answer[name] = type(error).__name__
    answers.append(answer)
json.dump(answers, open(sys.argv[2], "w"))
"""

MERGE_ALL = """
import json, sys
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
answers = []
for tree in json.load(open(sys.argv[1])):
    manager = PlansManager({"plans_name": "x", "configurations": tree})
    answer = {}
    for name in tree:
        try:
            answer[name] = manager._internal_resolve_configuration_inheritance(name)
        except Exception as error:
            answer[name] = type(error).__name__
    answers.append(answer)
json.dump(answers, open(sys.argv[2], "w"))
"""


def ask(peer: Callable[..., Any], tmp_path: Path, code: str, question: list[Any]) -> list[Any]:
    (tmp_path / "question.json").write_text(json.dumps(question))
    peer(code, tmp_path / "question.json", tmp_path / "answer.json")
    return json.loads((tmp_path / "answer.json").read_text())


def test_random_trees_resolve_as_nnunet_resolves_them(
    peer: Callable[..., str], tmp_path: Path
) -> None:
    trees: list[dict[str, Any]] = []

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inheritance_trees)
    def collect(tree: dict[str, Any]) -> None:
        trees.append(tree)

    collect()
    errors = 0
    for tree, expected in zip(trees, ask(peer, tmp_path, MERGE_ALL, trees), strict=True):
        for name in tree:
            try:
                got = inherit(tree, name)
            except InheritanceError:
                errors += 1
                assert isinstance(expected[name], str), (tree, name)
            else:
                assert json.dumps(got) == json.dumps(expected[name]), (tree, name)
    assert len(trees) >= 250
    assert errors > 50


def test_every_real_configuration_resolves_as_nnunet_resolves_it(
    peer: Callable[..., str], tmp_path: Path, shared: Path
) -> None:
    paths = plans_files(shared)
    documents = [json.loads(path.read_text(encoding="utf-8-sig")) for path in paths]
    compared = 0
    for path, expected in zip(paths, ask(peer, tmp_path, RESOLVE_ALL, documents), strict=True):
        plan = Plans.load(path)
        for name in plan.configurations:
            try:
                got = plan.resolve(name).to_dict()
            except ResencPlansError as error:
                assert isinstance(expected[name], str) or "is missing" in str(error)
            else:
                assert json.dumps(got) == json.dumps(expected[name]), (path, name)
                compared += 1
    assert compared > 550


def test_old_residual_encoder_plans_differ_in_the_module_alone(
    peer: Callable[..., str], tmp_path: Path
) -> None:
    content = document(old=OLD_CONFIGURATION | {"UNet_class_name": "ResidualEncoderUNet"})
    expected = ask(peer, tmp_path, RESOLVE_ALL, [content])[0]["old"]
    got = Plans.from_dict(content).resolve("old").to_dict()
    assert expected["architecture"].pop("network_class_name") == (
        "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet"
    )
    assert got["architecture"].pop("network_class_name") == (
        "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    )
    assert json.dumps(got) == json.dumps(expected)
