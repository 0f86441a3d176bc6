"""Options and commands that do not exist."""

from collections.abc import Callable

import pytest

from tests.cli.conftest import Done


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("preprocess -plans_name X", "-plans_name is nnU-Net's: write -p"),
        ("predict -i a -o b -npp 3", "-npp is nnU-Net's: write -np"),
        ("predict -i a -o b -num_parts 4", "write --part (`K/N`"),
        ("predict -i a -o b --not_on_device", "there is no such option here: results that do not"),
        ("create -overwrite_target_spacing 1 1 1", "write --spacing (in one word: `Z,Y,X`)"),
        ("postprocess x -dataset_json y", "write -d"),
        ("train 4 2d 0 --val", "write --resume"),
        ("preprocess --verbose", "before the command"),
        ("preprocess -gpu_memory_target 8", "`resenc-plans create --preprocess -gpu_memory_target"),
        ("create --gpu-memroy 80", "Did you mean --gpu-memory?"),
        ("create -gpu-memory-target 80", "Did you mean -gpu_memory_target?"),
        ("show -plans X", "No such option: -plans. Did you mean --plans?"),
        ("show --nothing-like-it", "`resenc-plans show --help` lists all"),
        ("study check x --formt json", "Did you mean --format? `resenc-plans study check --help`"),
        ("nnUNetv2_plan_and_preprocess -d 4", "is `resenc-plans create --preprocess` here"),
        ("find_best_configuration 4", "is `resenc-plans select` here"),
    ],
)
def test_what_is_not_ours_is_answered_with_ours(
    arguments: str, answer: str, run: Callable[..., Done]
) -> None:
    done = run(*arguments.split())
    assert done.code == 2
    assert answer in " ".join(done.err.split())


def test_values_are_not_taken_for_options(run: Callable[..., Done]) -> None:
    assert "No such option" not in run("show", "-pPlans_80G", "-d4").err
    assert "No such option" not in run("derive", "--set", "--a=1").err
    assert "No such option" not in run("show", "--", "--x").err
    assert run("show", "-h").code == 0


def test_values_that_follow_a_repeatable_option_repeat_it(run: Callable[..., Done]) -> None:
    """As nnU-Net writes them; with arguments of its own, a command cannot tell them apart."""
    several = run("predict", "-i", "a", "-o", "b", "-m", "c", "-f", "0", "x", "--compile")
    assert several.code == 2
    assert "-f 'x': folds are numbers, such as 0,1,2, or all." in " ".join(several.err.split())
    assert "-f 'y'" in run("select", "-d", "4", "-c", "2d", "3d_fullres", "-f", "0", "y").err
