"""Values that an option does not take."""

from collections.abc import Callable

import pytest

from tests.cli.conftest import Done

_OF_PARSERS = ("Input should be", "Value error", "Invalid value")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            "presets --hours x",
            "--hours must be a number, not 'x'. Help: Its training time on an A100",
        ),
        (
            "presets --format jsn",
            "--format must be one of table, json, not 'jsn' (did you mean json?)",
        ),
        ("demo folder --cases 0", "--cases must be at least 1, not '0'"),
        ("verify -np few", "--workers must be an integer, not 'few'"),
        ("train 4 2d 0 --epochs 0", "--epochs must be at least 1"),
        ("train 4 2d 0 --seed -1", "--seed must be at least 0, not '-1'"),
        ("convert-msd -i x --id y", "--id must be an integer, not 'y'"),
        ("predict -i x -o y --step-size half", "--step-size must be a number, not 'half'"),
        ("compare a b --missing zero", "--missing must be one of omit, worst, not 'zero'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_option_and_what_it_takes(
    arguments: str, answer: str, run: Callable[..., Done]
) -> None:
    done = run(*arguments.split())
    said = " ".join(done.err.split())
    assert done.code == 2
    assert answer in said
    assert not any(words in said for words in _OF_PARSERS)


@pytest.mark.parametrize("value", ["-d 4,501", "-d 4 501", "--dataset=4,501", "-d 4;Dataset501_B"])
def test_several_datasets_are_answered_with_a_loop(value: str, run: Callable[..., Done]) -> None:
    done = run("create", *value.split())
    option, second = value.replace("=", " ").split()[0], value.split("4")[1][1:]
    assert done.code == 2
    assert "one dataset at a time is taken" in done.err
    loop = f"for dataset in 4 {second}; do resenc-plans create {option} $dataset; done"
    assert loop in " ".join(done.err.split())


def test_what_follows_a_dataset_is_no_second_one(run: Callable[..., Done]) -> None:
    assert "at a time" not in run("cost", "-d", "4", "501").err
    assert "at a time" not in run("create", "-d", "4").err
    assert "-d 4,501: one dataset at a time" in run("preprocess", "-d", "4,501", "2d").err
    assert "'4,501': these are 2, and one at a time" in run("train", "4,501", "2d", "0").err
